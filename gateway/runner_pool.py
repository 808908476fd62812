"""Several runners of one model, on other machines: who gets the next request, and what happens when one is gone.

`bentoml.depends(url=...)` knows one address for a service, sends images as base64 within JSON, and lets the gateway be
ready only while every one of them is; so requests go through our own client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from core import events
from core.errors import Busy, DeadlineExceeded, JubakoError, RunnerLost
from core.events import Event
from core.request import GenerationRequest
from gateway.runner_client import RESTART_S, RunnerClient

log = logging.getLogger("jubako")

PROBE_S = 2.0
"""How often a runner that is gone is asked whether it is there again."""
BEST_FIRST = ("ready", "loading", "unloaded", "unloading", "failed", "restarting", "starting")
"""States of runners; a model is in the best state that one of its runners is in."""
SHOWN = ("state", "progress", "error", "device", "wanted_device", "dtype", "devices")
SHOWN_OF_EACH = ("state", "progress", "error", "device", "dtype", "running", "queued")


class RunnerPool:
    """Runners of one model, all alike; usable on one event loop."""

    def __init__(self, model: str, runners: Sequence[RunnerClient]) -> None:
        self._model = model
        self._runners = list(runners)
        self._in_hand: Counter[RunnerClient] = Counter()
        self._probing: asyncio.Task[None] | None = None

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request; closing the generator cancels it.

        A request that has not started goes on to the next runner when one is gone or has no place. Raises what the
        last of them raised.
        """
        accepted_at_s = time.monotonic()
        problem: JubakoError = Busy(f"no runner of {self._model} can be reached; try again later", RESTART_S)
        for runner in self._by_turn():
            started = False
            try:
                async with aclosing(self._generate(runner, _within_deadline(request, accepted_at_s))) as happenings:
                    async for event in happenings:
                        started = started or not isinstance(event, events.Loading | events.Queued)
                        yield event
            except (Busy, RunnerLost) as error:
                if started:
                    raise
                problem = error
            else:
                return
        raise problem

    def _by_turn(self) -> list[RunnerClient]:
        """All that are there, the least busy first; if none is, all."""
        there = [runner for runner in self._runners if not runner.broken] or self._runners
        return sorted(there, key=lambda runner: self._in_hand[runner])

    async def _generate(self, runner: RunnerClient, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Raises Busy also for a runner that has no place."""
        self._in_hand[runner] += 1
        # Of several that have as much to do, whoever was asked last comes last.
        self._runners.remove(runner)
        self._runners.append(runner)
        try:
            async with aclosing(runner.generate(request)) as happenings:
                async for event in happenings:
                    if isinstance(event, events.Failed) and event.code == Busy.code:
                        raise Busy(event.message, event.retry_after_s or RESTART_S)
                    yield event
        finally:
            self._in_hand[runner] -= 1
            if runner.broken:
                self._probe()

    def _probe(self) -> None:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._until_all_there())

    async def _until_all_there(self) -> None:
        log.warning("%d of %d runners of %s are gone", self._gone, len(self._runners), self._model)
        while self._gone:
            await asyncio.sleep(PROBE_S)
            await self._states()
        log.info("all %d runners of %s are there again", len(self._runners), self._model)

    @property
    def _gone(self) -> int:
        return sum(runner.broken for runner in self._runners)

    async def _states(self) -> list[dict[str, Any]]:
        return await asyncio.gather(*(runner.state() for runner in self._runners))

    async def state(self) -> dict[str, Any]:
        """Return the best of their states, and below `runners` that of each.

        Without memory: that is not this machine's.
        """
        return self._summary(await self._states())

    async def load(self, device: str | None = None) -> dict[str, Any]:
        """Begin to load the model in all runners that are there; return the state. Raises InvalidRequest and Busy."""
        return self._summary(await _of_any(runner.load(device) for runner in self._runners))

    async def unload(self, force: bool = False) -> dict[str, Any]:
        """Free the model in all runners that are there, as `RunnerClient.unload` does; return the state."""
        return self._summary(await _of_any(runner.unload(force) for runner in self._runners))

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        for runner in self._runners:
            await runner.close()

    def _summary(self, states: Sequence[dict[str, Any]]) -> dict[str, Any]:
        best = min(states, key=lambda state: BEST_FIRST.index(state["state"]))
        return {
            "model": self._model,
            **{name: best[name] for name in SHOWN if name in best},
            "running": sum(state.get("running", 0) for state in states),
            "queued": sum(state.get("queued", 0) for state in states),
            "runners": [{name: state[name] for name in SHOWN_OF_EACH if name in state} for state in states],
        }


async def _of_any(calls: Iterable[Coroutine[Any, Any, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return the answers that came. Raises the first error if none did."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    good = [answer for answer in answers if isinstance(answer, dict)]
    if not good:
        raise next(answer for answer in answers if isinstance(answer, BaseException))
    return good


def _within_deadline(request: GenerationRequest, accepted_at_s: float) -> GenerationRequest:
    """The request with what is left of its deadline. Raises DeadlineExceeded."""
    if request.deadline_s is None:
        return request
    left_s = request.deadline_s - (time.monotonic() - accepted_at_s)
    if left_s <= 0:
        raise DeadlineExceeded(f"deadline_s: {request.deadline_s:g} s have passed")
    return request.model_copy(update={"deadline_s": left_s})
