"""Several runners of one model, here or on other machines: which one gets the next request, and what happens when one
is gone.

`bentoml.depends(url=...)` knows one address for each service, sends images as base64 within JSON, and is ready only
while all of them are; so requests go through our own client.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from core.deadline import Deadline
from core.errors import RESTART_S, Busy, JubakoError, LoadFailed, RunnerLost
from core.generation import events
from core.generation.events import Event
from core.generation.request import GenerationRequest
from gateway.runner_client import RunnerClient
from gateway.runner_load import RunnerLoad, additions_to
from runners.state import ModelState, RunnerState

log = logging.getLogger("jubako")

PROBE_S = 2.0
"""How often runners that are gone are probed."""
BEGINNINGS = 2
"""How many times a request is begun: one that kills its runner's process must not kill all of them."""
_BEFORE = events.Loading | events.Queued
_DELIVERED = events.Preview | events.Picture | events.Clip


class RunnerRank(NamedTuple):
    """How suitable a runner is for a request; the lowest rank is best."""

    broken: bool
    unable: bool
    resting: bool
    finish_s: float


class RunnerPool:
    """Runners of one model, all alike; usable on one event loop."""

    def __init__(
        self,
        model: str,
        runners: Sequence[RunnerClient],
        *,
        local: bool = False,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`local` runners are replicas on this machine, each on a device of its own, with the same files."""
        self._model = model
        self._numbered = list(runners)
        self._runners = list(runners)
        """Least recently used first."""
        self._local = local
        self._loads = {runner: RunnerLoad(now_s) for runner in runners}
        self._resting: set[RunnerClient] = set()
        """Runners unloaded to make room for another model, until they are loaded again."""
        self._probing: asyncio.Task[None] | None = None

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate a request and yield its events; closing the generator cancels it.

        A request that has not started is retried on the next runner when one is gone, full, or lacks what it needs.
        A request that has started, but delivered nothing, is begun again once. If no runner can do it, raises the error
        of one that may be able to later, or else the last error.
        """
        deadline = Deadline(request.deadline_s)
        problem: JubakoError | None = None
        beginnings = 0
        for runner in self._in_order(request):
            started = delivered = False
            try:
                async with aclosing(self._generate(runner, deadline.remaining(request))) as generated:
                    async for event in generated:
                        begins = not started and not isinstance(event, _BEFORE)
                        started, delivered = started or begins, delivered or isinstance(event, _DELIVERED)
                        beginnings += begins
                        if not (beginnings > 1 and isinstance(event, events.Started)):
                            yield event
            except (Busy, LoadFailed, RunnerLost) as error:
                if delivered or (started and beginnings == BEGINNINGS):
                    raise
                if problem is None or problem.retry_after_s is None:
                    problem = error
            else:
                return
        raise problem or Busy(f"no runner of {self._model} can be reached; try again later", RESTART_S)

    def _in_order(self, request: GenerationRequest) -> list[RunnerClient]:
        """Return all runners, best first; each is tried if those before it fail."""
        speeds = [speed for load in self._loads.values() if (speed := load.tokens_per_s)]
        usual = sum(speeds) / len(speeds) if speeds else 1.0

        def rank(runner: RunnerClient) -> RunnerRank:
            load = self._loads[runner]
            finish_s = load.finish_s(request, usual)
            return RunnerRank(runner.broken, load.unable_to(request), runner in self._resting, finish_s)

        return sorted(self._runners, key=rank)

    async def _generate(self, runner: RunnerClient, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate on one runner. Raises Busy also when it is full, and LoadFailed when it cannot load the model."""
        # Among equally good runners, the least recently used goes first.
        self._runners.remove(runner)
        self._runners.append(runner)
        woken = runner in self._resting
        try:
            with self._loads[runner].doing(request) as on_event:
                async with aclosing(runner.generate(request)) as generated:
                    async for event in generated:
                        if isinstance(event, events.Failed) and await self._another_may(runner, request, event.error):
                            raise event.error
                        on_event(event)
                        if woken and isinstance(event, events.Started):
                            self._resting.discard(runner)
                        yield event
        finally:
            if runner.broken:
                self._probe()

    async def _another_may(self, runner: RunnerClient, request: GenerationRequest, error: JubakoError) -> bool:
        """Whether another runner might succeed; if this one could not load something, its load remembers that."""
        if not isinstance(error, (Busy, LoadFailed)):
            return False
        load = self._loads[runner]
        if (await runner.state()).state is ModelState.FAILED:
            load.could_not_load()
        elif isinstance(error, LoadFailed) and additions_to(request):
            load.could_not_add(request)
            # Runners on other machines may have different files.
            return not self._local
        return True

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
        states = await asyncio.gather(*(runner.state() for runner in self._numbered))
        for runner, state in zip(self._numbered, states, strict=True):
            self._loads[runner].in_memory = state.state in (ModelState.READY, ModelState.LOADING)
        return [state.model_copy(update={"replica": number}) for number, state in enumerate(states, 1)]

    async def state(self) -> RunnerState:
        """Return the best of the runners' states, and the state of each in `runners`."""
        return RunnerState.of_several(self._model, await self._states())

    async def load(self, device: str | None = None) -> RunnerState:
        """Start loading the model in all reachable runners; return the state. Raises InvalidRequest or Busy."""
        await _done_by_any(runner.load(device) for runner in self._numbered)
        self._resting.clear()
        return await self.state()

    async def unload(self, force: bool = False, device: str | None = None) -> RunnerState:
        """Free the model in all reachable runners, as `RunnerClient.unload` does; return the state.

        With a `device`, only in those that are on it; they get no requests while others are reachable.
        """
        leaving = self._numbered
        if device is not None:
            states = zip(self._numbered, await self._states(), strict=True)
            leaving = [runner for runner, state in states if device in state.occupied]
            self._resting.update(leaving)
        for runner in leaving:
            self._loads[runner].in_memory = False
        await _done_by_any(runner.unload(force) for runner in leaving)
        return await self.state()

    async def close(self) -> None:
        if self._probing is not None:
            self._probing.cancel()
        for runner in self._numbered:
            await runner.close()


async def _done_by_any(calls: Iterable[Coroutine[Any, Any, RunnerState]]) -> None:
    """Wait for all of these runners. Raises the first error if none succeeds."""
    answers = await asyncio.gather(*calls, return_exceptions=True)
    errors = [answer for answer in answers if isinstance(answer, BaseException)]
    if errors and len(errors) == len(answers):
        raise errors[0]
