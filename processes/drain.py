"""Orderly shutdown of a process: once asked to stop, it finishes what it has in hand, within a time limit.

BentoML's supervisor passes SIGTERM on to all processes of a server at once, and waits until they have ended. A
gateway then finishes requests and jobs; what it depends on outlives it (`processes.gateway_watch`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any

from core.asyncio_tasks import first_of
from processes.in_hand import InHand

log = logging.getLogger("jubako")

ENDING_S = 5.0
"""The part of the time that is reserved for cleaning up, when nothing more is waited for."""


Wait = Callable[[], Coroutine[Any, Any, None]]


class _Hurried(Exception):
    """SIGINT: end without waiting."""


class Drain:
    """The end of this process, from SIGTERM on; SIGINT ends it without waiting."""

    def __init__(self, seconds: float) -> None:
        """The process ends within `seconds`, whatever hangs."""
        self.in_hand = InHand()
        self.refusing = False
        """Whether new requests are refused."""
        self._seconds = seconds
        self._hurried = asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    @property
    def begun(self) -> bool:
        return self._draining is not None

    def install(self, *others: Wait, serve_until: Wait | None = None) -> None:
        """Take SIGTERM and SIGINT over from the running server, which handled them until now.

        After a signal, new requests are refused once `serve_until` has returned, and the server ends once no request is
        in hand and all `others` have returned. Each is called when its turn comes, and cancelled when the time is up.
        """
        loop = asyncio.get_running_loop()
        end: Any = signal.getsignal(signal.SIGTERM)

        async def drain() -> None:
            await self._finish(others, serve_until)
            self.in_hand.cut()
            end(signal.SIGTERM, None)

        def begin() -> None:
            if self._draining is None:
                self._draining = asyncio.create_task(drain())

        def on_signal(number: int, _: FrameType | None) -> None:
            loop.call_soon_threadsafe(begin)
            if number == signal.SIGINT:
                loop.call_soon_threadsafe(self._hurried.set)

        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, on_signal)

    async def _finish(self, others: tuple[Wait, ...], serve_until: Wait | None) -> None:
        log.info("stopping; requests in hand: %d", self.in_hand.count)
        self._watch_over_end()
        work_ends_at_s = time.monotonic() + self._seconds - ENDING_S
        if serve_until is not None:
            # Even in a hurry, so that callers get the gateway's own answer about its end, not the loss of this runner.
            await self._unless_hurried(serve_until(), self._seconds, grace_s=ENDING_S)
        self.refusing = True
        left_s = max(0.0, work_ends_at_s - time.monotonic())
        if not await self._unless_hurried(self._all_finished(others), left_s):
            log.warning("not everything has ended in time; requests given up: %d", self.in_hand.count)

    async def _all_finished(self, others: tuple[Wait, ...]) -> None:
        await asyncio.gather(self.in_hand.finished(), *(other() for other in others))

    async def _unless_hurried(self, work: Coroutine[Any, Any, None], timeout_s: float, grace_s: float = 0.0) -> bool:
        """Wait until the work is done, its time is up, or SIGINT came `grace_s` ago; return whether it is done."""

        async def hurry() -> None:
            await self._hurried.wait()
            await asyncio.sleep(grace_s)

        try:
            async with asyncio.timeout(timeout_s):
                await first_of(work, hurry(), _Hurried())
        except (TimeoutError, _Hurried):
            return False
        except Exception:
            # Whatever went wrong, the process must still shut down in order.
            log.exception("what the end waits for failed")
        return True

    def _watch_over_end(self) -> None:
        """Kill the process if something hangs until all its time is up."""
        last = threading.Timer(max(self._seconds, ENDING_S), os._exit, (1,))
        last.daemon = True
        last.start()
