"""Runs token optimisations one at a time, each in a thread of its own beside the engine's."""

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
from core.generation.events import Event, Failed, Picture, Queued, Started, Step
from core.generation.hints import UNREAD, PromptReading
from core.generation.request import GenerationRequest
from models.catalogue.addons import TokenOptSpec
from models.weights.devices import use_device
from models.weights.loading import LoadedModel
from runners.token_opt.latent_optimiser import IterationDone, LatentOptimiser

log = logging.getLogger("jubako.token_opt")

STOPPED = "the caller left, or the model is being unloaded"


class TokenOptQueue:
    """Lives on one event loop. Gradients are enabled per thread, so the engine's stay off."""

    def __init__(self, model: LoadedModel, spec: TokenOptSpec, max_queue: int) -> None:
        self._model = model
        self._spec = spec
        self._max_queue = max_queue
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._current: _RequestThread | None = None
        self._closed = False

    @cached_property
    def _optimiser(self) -> LatentOptimiser:
        return LatentOptimiser.of(self._model, self._spec)

    async def events(
        self, request: GenerationRequest, accepted_at_s: float, reading: PromptReading = UNREAD
    ) -> AsyncGenerator[Event, None]:
        """Yield a request's events; closing the generator stops it after the current iteration."""
        if self._waiting > self._max_queue:
            yield Failed.of(Busy(f"{self._waiting} token optimisations are waiting; try again later"))
            return
        self._waiting += 1
        try:
            if self._turn.locked():
                yield Queued(self._waiting - 1)
            async with self._turn:
                yield Started(time.monotonic() - accepted_at_s, reading.hint, reading.tokens)
                if self._closed:
                    yield Failed.of(Cancelled(STOPPED))
                    return
                thread = self._current = _RequestThread(
                    request, accepted_at_s, self._model.device, lambda: self._optimiser
                )
                try:
                    while (event := await thread.events.get()) is not None:
                        yield event
                finally:
                    # The next one must not begin while this one is still computing.
                    await thread.stop()
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Cancel the running request after its current iteration, and all waiting ones."""
        self._closed = True
        if self._current is not None:
            await self._current.stop()


class _RequestThread:
    """One request, and its thread, which ends with it: OpenMP workers that it keeps would slow down the engine's."""

    def __init__(
        self,
        request: GenerationRequest,
        accepted_at_s: float,
        device: torch.device,
        optimiser: Callable[[], LatentOptimiser],
    ) -> None:
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        """None marks the end."""
        self._request = request
        self._deadline = Deadline(request.deadline_s, accepted_at_s)
        self._device = device
        self._optimiser = optimiser
        self._stopped = False
        self._ended = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._run, name="token-opt", daemon=True).start()

    async def stop(self) -> None:
        """Stop after the current iteration; return once nothing is computing any more."""
        self._stopped = True
        await self._ended.wait()

    def _run(self) -> None:
        try:
            use_device(self._device)
            for index in range(self._request.num_images):
                self._generate(index)
        except JubakoError as error:
            self._emit(Failed.of(error))
        except torch.OutOfMemoryError:
            self._emit(Failed.of(OutOfMemory("the token optimisation does not fit into the device's memory")))
        except Exception:
            log.exception("a token optimisation failed")
            self._emit(Failed.of(GenerationFailed("the token optimisation failed")))
        self._emit(None)

    def _generate(self, index: int) -> None:
        request, seed = self._request, self._request.seed + index
        for reached in self._optimiser().generate(request, seed):
            if not isinstance(reached, IterationDone):
                self._emit(Picture(index, seed, reached))
            elif request.progress:
                self._emit(Step(index, reached.iteration, request.iterations))
            self._check()

    def _check(self) -> None:
        if self._stopped:
            raise Cancelled(STOPPED)
        if self._deadline.passed:
            raise self._deadline.exceeded()

    def _emit(self, event: Event | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._receive, event)
        except RuntimeError:
            # The loop is closed, so no one is waiting.
            self._stopped = True

    def _receive(self, event: Event | None) -> None:
        self.events.put_nowait(event)
        if event is None:
            self._ended.set()
