"""The waiting line of token optimisations: one at a time, each in a thread of its own, beside the engine's."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncGenerator, Callable
from functools import cached_property

import torch

from core.deadline import Deadline
from core.errors import Busy, Cancelled, GenerationFailed, JubakoError, OutOfMemory
from core.events import Event, Failed, Picture, Queued, Started, Step
from core.request import GenerationRequest
from models.catalogue.addons import TokenOptSpec
from models.weights.loading import LoadedModel
from runners.token_opt.latent_optimiser import LatentOptimiser, Progress

log = logging.getLogger("jubako.token_opt")

STOPPED = "the caller left, or the model is being unloaded"


class TokenOptQueue:
    """Lives on one event loop. A thread's gradients are its own affair, so the engine's stay off."""

    def __init__(self, model: LoadedModel, spec: TokenOptSpec, max_queue: int) -> None:
        self._model = model
        self._spec = spec
        self._max_queue = max_queue
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._work: _Work | None = None
        self._closed = False

    @cached_property
    def _optimisation(self) -> LatentOptimiser:
        return LatentOptimiser.of(self._model, self._spec)

    async def events(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request; closing the generator stops it after the iteration."""
        if self._waiting > self._max_queue:
            yield Failed.of(Busy(f"{self._waiting} token optimisations are waiting; try again later"))
            return
        self._waiting += 1
        try:
            if self._turn.locked():
                yield Queued(self._waiting - 1)
            async with self._turn:
                yield Started(time.monotonic() - accepted_at_s)
                if self._closed:
                    yield Failed.of(Cancelled(STOPPED))
                    return
                work = self._work = _Work(request, accepted_at_s, lambda: self._optimisation)
                try:
                    while (event := await work.events.get()) is not None:
                        yield event
                finally:
                    work.stop()
                    # The next one must not begin while this one still computes.
                    await work.ended.wait()
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Cancel the request that is drawn, after its iteration, and all that wait."""
        self._closed = True
        if self._work is not None:
            self._work.stop()
            await self._work.ended.wait()


class _Work:
    """One request in its thread. A thread that ends takes its OpenMP team with it, which would slow the engine's."""

    def __init__(
        self, request: GenerationRequest, accepted_at_s: float, optimisation: Callable[[], LatentOptimiser]
    ) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        """None comes last."""
        self.ended = asyncio.Event()
        self._request = request
        self._deadline = Deadline(request.deadline_s, accepted_at_s)
        self._optimisation = optimisation
        self._stopped = False
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="token-opt", daemon=True).start()

    def stop(self) -> None:
        self._stopped = True

    def _run(self) -> None:
        try:
            for index in range(self._request.num_images):
                self._draw(index)
        except JubakoError as error:
            self._tell(Failed.of(error))
        except torch.OutOfMemoryError:
            self._tell(Failed.of(OutOfMemory("the token optimisation does not fit into the device's memory")))
        except Exception:
            log.exception("a token optimisation failed")
            self._tell(Failed.of(GenerationFailed("the token optimisation failed")))
        self._tell(None)

    def _draw(self, index: int) -> None:
        request, seed = self._request, self._request.seed + index
        for news in self._optimisation().draw(request, seed):
            if not isinstance(news, Progress):
                self._tell(Picture(index, seed, news))
            elif request.progress:
                self._tell(Step(index, news.iteration, request.iterations))
            self._check()

    def _check(self) -> None:
        if self._stopped:
            raise Cancelled(STOPPED)
        if self._deadline.passed:
            raise self._deadline.exceeded()

    def _tell(self, event: Event | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._hear, event)
        except RuntimeError:
            # The loop is closed, so nobody waits.
            self._stopped = True

    def _hear(self, event: Event | None) -> None:
        self.events.put_nowait(event)
        if event is None:
            self.ended.set()
