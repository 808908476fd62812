"""Several runners of one model, on other machines: who gets the next request, and what happens when one is gone.

`bentoml.depends(url=...)` knows one address for a service, sends images as base64 within JSON, and lets the gateway be
ready only while every one of them is; so requests go through our own client.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from core import events
from core.deadline import Deadline
from core.errors import Busy, JubakoError, RunnerLost
from core.events import Event
from core.request import GenerationRequest
from gateway.runner_client import RESTART_S, RunnerClient
from runners.state import RunnerState

log = logging.getLogger("jubako")

PROBE_S = 2.0
"""How often a runner that is gone is asked whether it is there again."""


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
        deadline = Deadline(request.deadline_s)
        problem: JubakoError = Busy(f"no runner of {self._model} can be reached; try again later", RESTART_S)
        for runner in self._by_turn():
            started = False
            try:
                async with aclosing(self._generate(runner, deadline.remaining(request))) as happenings:
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
        # Among equally busy ones, the least recently used goes first.
        self._runners.remove(runner)
        self._runners.append(runner)
        try:
            async with aclosing(runner.generate(request)) as happenings:
                async for event in happenings:
                    if isinstance(event, events.Failed) and event.code == Busy.code:
                        raise event.error
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

    async def _states(self) -> list[RunnerState]:
        return await asyncio.gather(*(runner.state() for runner in self._runners))

    async def state(self) -> RunnerState:
        """Return the best of their states, and below `runners` that of each.

        Without memory: that is not this machine's.
        """
        return RunnerState.of_several(self._model, await self._states())

    async def load(self, device: str | None = None) -> RunnerState:
        """Begin to load the model in all runners that are there; return the state. Raises InvalidRequest and Busy."""
        return RunnerState.of_several(self._model, await _of_any(runner.load(device) for runner in self._runners))

    async def unload(self, force: bool = False) -> RunnerState:
        """Free the model in all runners that are there, as `RunnerClient.unload` does; return the state."""
        return RunnerState.of_several(self._model, await _of_any(runner.unload(force) for runner in self._runners))

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        for runner in self._runners:
            await runner.close()


async def _of_any(calls: Iterable[Coroutine[Any, Any, RunnerState]]) -> list[RunnerState]:
    """Return the answers that came. Raises the first error if none did."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    good = [answer for answer in answers if isinstance(answer, RunnerState)]
    if not good:
        raise next(answer for answer in answers if isinstance(answer, BaseException))
    return good
