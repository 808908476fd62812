"""Several runners of one model, on other machines: which one gets the next request, and what happens when one is gone.

`bentoml.depends(url=...)` knows one address for each service, sends images as base64 within JSON, and is ready only
while all of them are; so requests go through our own client.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncGenerator, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any

from core.deadline import Deadline
from core.errors import RESTART_S, Busy, JubakoError, RunnerLost
from core.generation import events
from core.generation.events import Event
from core.generation.request import GenerationRequest
from gateway.runner_client import RunnerClient
from runners.state import RunnerState

log = logging.getLogger("jubako")

PROBE_S = 2.0
"""How often runners that are gone are probed."""


class RunnerPool:
    """Runners of one model, all alike; usable on one event loop."""

    def __init__(self, model: str, runners: Sequence[RunnerClient]) -> None:
        self._model = model
        self._runners = list(runners)
        self._active: Counter[RunnerClient] = Counter()
        self._probing: asyncio.Task[None] | None = None

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate a request and yield its events; closing the generator cancels it.

        A request that has not started is retried on the next runner when one is gone or full. Raises the last one's
        error.
        """
        deadline = Deadline(request.deadline_s)
        problem: JubakoError = Busy(f"no runner of {self._model} can be reached; try again later", RESTART_S)
        for runner in self._in_order():
            started = False
            try:
                async with aclosing(self._generate(runner, deadline.remaining(request))) as generated:
                    async for event in generated:
                        started = started or not isinstance(event, events.Loading | events.Queued)
                        yield event
            except (Busy, RunnerLost) as error:
                if started:
                    raise
                problem = error
            else:
                return
        raise problem

    def _in_order(self) -> list[RunnerClient]:
        """Return the reachable runners, or all if none is reachable, the least busy first."""
        reachable = [runner for runner in self._runners if not runner.broken] or self._runners
        return sorted(reachable, key=lambda runner: self._active[runner])

    async def _generate(self, runner: RunnerClient, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Raises Busy also when the runner is full."""
        self._active[runner] += 1
        # Among equally busy runners, the least recently used goes first.
        self._runners.remove(runner)
        self._runners.append(runner)
        try:
            async with aclosing(runner.generate(request)) as generated:
                async for event in generated:
                    if isinstance(event, events.Failed) and isinstance(event.error, Busy):
                        raise event.error
                    yield event
        finally:
            self._active[runner] -= 1
            if runner.broken:
                self._probe()

    def _probe(self) -> None:
        if self._probing is None or self._probing.done():
            self._probing = asyncio.create_task(self._until_all_reachable())

    async def _until_all_reachable(self) -> None:
        log.warning("%d of %d runners of %s are unreachable", self._gone, len(self._runners), self._model)
        while self._gone:
            await asyncio.sleep(PROBE_S)
            await self._states()
        log.info("all %d runners of %s are reachable again", len(self._runners), self._model)

    @property
    def _gone(self) -> int:
        return sum(runner.broken for runner in self._runners)

    async def _states(self) -> list[RunnerState]:
        return await asyncio.gather(*(runner.state() for runner in self._runners))

    async def state(self) -> RunnerState:
        """Return the best of the runners' states, and the state of each in `runners`.

        Memory is left out, because it is that of other machines.
        """
        return RunnerState.of_several(self._model, await self._states())

    async def load(self, device: str | None = None) -> RunnerState:
        """Start loading the model in all reachable runners; return the state. Raises InvalidRequest or Busy."""
        return RunnerState.of_several(self._model, await _of_any(runner.load(device) for runner in self._runners))

    async def unload(self, force: bool = False) -> RunnerState:
        """Free the model in all reachable runners, as `RunnerClient.unload` does; return the state."""
        return RunnerState.of_several(self._model, await _of_any(runner.unload(force) for runner in self._runners))

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        for runner in self._runners:
            await runner.close()


async def _of_any(calls: Iterable[Coroutine[Any, Any, RunnerState]]) -> list[RunnerState]:
    """Return the states of the runners that answered. Raises the first error if none did."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    states = [answer for answer in answers if isinstance(answer, RunnerState)]
    if not states:
        raise next(answer for answer in answers if isinstance(answer, BaseException))
    return states
