"""The life of one model in its runner: loaded, used, unloaded, moved to another device.

A host lives on one event loop. Loading happens in a thread, so that requests can be told how far it is; they wait for
it within their deadlines.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from concurrent.futures import Future
from contextlib import aclosing
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from errors import Busy, DeadlineExceeded, GenerationFailed, InvalidRequest, JubakoError, LoadFailed
from models.devices import allocated_gib, available_devices, device_memory_gib, free_memory, resolve_device
from models.entries import Entry
from models.loading import LoadedModel, load
from models.progress import Bar
from models.request import GenerationRequest, Method
from runners.engine import Engine, EngineLimits
from runners.events import Event, Failed, Loading
from runners.observer import EngineObserver
from runners.token_opt import TokenOptimiser
from runners.warmup import is_worthwhile, warm_up, warmup_request

log = logging.getLogger("jubako.loading")
T = TypeVar("T")

TELL_EVERY_S = 0.25
"""How often a waiting request hears how far its model is."""
RETRY_PAUSE_S = 10.0
"""A failed load is tried again by the first request that comes so much later."""
WARMING_UP = 0.95
"""The progress at which all weights are there and the first picture is drawn."""


class State(StrEnum):
    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"
    """Running requests are drawn to their ends; new ones wait."""
    FAILED = "failed"


@dataclass(frozen=True)
class HostOptions:
    device: str = "auto"
    dtype: str | None = None
    allow_pickle: bool = False
    idle_unload_s: float | None = None


class Host:
    """Draws requests with a model that it loads when it is needed."""

    def __init__(
        self,
        entry: Entry,
        limits: EngineLimits,
        options: HostOptions,
        observer: EngineObserver | None = None,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> None:
        self._entry = entry
        self._limits = limits
        self._options = options
        self._observer = observer
        self._retry_pause_s = retry_pause_s
        self._device = options.device
        self._state = State.UNLOADED
        self._progress = 0.0
        self._failure = ""
        """Why the last load failed."""
        self._try_again_at_s = 0.0
        self._model: LoadedModel | None = None
        self._engine: Engine | None = None
        self._optimiser: TokenOptimiser | None = None
        self._waiting = 0
        self._drawing = 0
        self._drained = asyncio.Event()
        self._drained.set()
        self._last_used_s = time.monotonic()
        self._changing = asyncio.Lock()
        self._change: asyncio.Task[None] | None = None
        self._first_load: asyncio.Task[None] | None = None
        self._idle_watch: asyncio.Task[None] | None = None

    # Requests.

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request; closing the generator cancels it."""
        accepted_at_s = time.monotonic()
        try:
            async with aclosing(self._until_ready(accepted_at_s, request.deadline_s)) as waiting:
                async for loading in waiting:
                    yield loading
        except JubakoError as error:
            yield Failed.of(error)
            return
        self._drawing += 1
        self._drained.clear()
        try:
            async with aclosing(self._draw(request, accepted_at_s)) as happenings:
                async for event in happenings:
                    yield event
        finally:
            self._drawing -= 1
            self._last_used_s = time.monotonic()
            if not self._drawing:
                self._drained.set()

    async def _draw(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Event, None]:
        engine = self._engine
        assert engine is not None, "a ready host has one"
        if request.method is Method.TOKEN_OPT:
            assert self._optimiser is not None, "requests are checked against the catalogue"
            async with aclosing(self._optimiser.events(request, accepted_at_s)) as happenings:
                async for event in happenings:
                    yield event
            return
        try:
            if request.loras or request.control_type or request.reference_image:
                await in_thread(lambda: engine.prepare(request))
            ticket = engine.submit(request, accepted_at_s)
        except JubakoError as error:
            yield Failed.of(error)
            return
        except Exception:
            log.exception("what a request of %s needs cannot be loaded", self._entry.id)
            yield Failed.of(GenerationFailed("what the request needs beside the model cannot be loaded"))
            return
        async with aclosing(ticket.events()) as happenings:
            async for event in happenings:
                yield event

    async def _until_ready(self, accepted_at_s: float, deadline_s: float | None) -> AsyncGenerator[Loading, None]:
        """Yield progress until the model can draw. Raises Busy, LoadFailed or DeadlineExceeded."""
        if self._ready:
            return
        if self._waiting >= self._limits.max_running + self._limits.max_queue:
            raise Busy(f"{self._waiting} requests are waiting for {self._entry.id}; try again later")
        self._waiting += 1
        ends_at_s = accepted_at_s + (deadline_s or float("inf"))
        told = -1.0
        try:
            while not self._ready:
                change = self._wanted_change()
                if self._progress > told:
                    told = self._progress
                    yield Loading(round(told, 3))
                await asyncio.wait({change}, timeout=min(TELL_EVERY_S, max(0.0, ends_at_s - time.monotonic())))
                if change.done() and self._state is State.FAILED:
                    raise self._load_failed()
                if time.monotonic() >= ends_at_s and not self._ready:
                    raise DeadlineExceeded(f"deadline_s: {deadline_s:g} s have passed while the model was loading")
        finally:
            self._waiting -= 1

    def _wanted_change(self) -> asyncio.Task[None]:
        """Return the change that leads to a ready model. Raises LoadFailed while it is too early to try again."""
        if self._change is not None and not self._change.done():
            return self._change
        if self._state is State.FAILED and time.monotonic() < self._try_again_at_s:
            raise self._load_failed()
        return self.load()

    def _load_failed(self) -> LoadFailed:
        return LoadFailed(self._failure, max(1, round(self._try_again_at_s - time.monotonic())))

    # What an operator asks for.

    def start(self, load: bool) -> None:
        """Begin to watch for idle times and, if wanted, to load."""
        if self._options.idle_unload_s is not None:
            self._idle_watch = asyncio.create_task(self._unload_when_idle(self._options.idle_unload_s))
        if load:
            self._first_load = self.load()

    def load(self, device: str | None = None) -> asyncio.Task[None]:
        """Begin to load the model, or to move it to another device once its running requests are done.

        Raises InvalidRequest for a device that is not there. The task ends when the model is ready, or failed.
        """
        if device is not None:
            self._device = resolve_device(device)
        return self._begin(self._load())

    async def unload(self, force: bool = False) -> None:
        """Free the model once its running requests are done; `force` cancels them."""
        await asyncio.shield(self._begin(self._unload(force)))

    def state(self) -> dict[str, Any]:
        """Report the model, where it is, and how much it has to do."""
        engine, model = self._engine, self._model
        return {
            "model": self._entry.id,
            "state": self._state,
            "progress": round(self._progress, 3),
            "error": self._failure if self._state is State.FAILED else None,
            "device": str(model.device) if model else self._unloaded_device(),
            "dtype": model and model.dtype,
            "devices": available_devices(),
            "device_memory_gib": self._device_memory_gib(),
            "memory_gib": model and round(allocated_gib(str(model.device)) or model.weights_gib, 3),
            "running": engine.running if engine else 0,
            "queued": self._waiting + (engine.queued if engine else 0),
            "pid": os.getpid(),
        }

    @property
    def _ready(self) -> bool:
        return self._state is State.READY

    @property
    def settled(self) -> bool:
        """Whether the load at the start, if one was wanted, has ended."""
        return self._first_load is None or self._first_load.done()

    def _device_memory_gib(self) -> float | None:
        """All memory of the device that the model is for; None when it is not there."""
        try:
            return round(device_memory_gib(resolve_device(self._device)), 3)
        except InvalidRequest:
            return None

    def _unloaded_device(self) -> str:
        try:
            return resolve_device(self._device)
        except InvalidRequest:
            return self._device

    async def close(self) -> None:
        """Cancel whatever is unfinished."""
        for task in (self._idle_watch, self._change):
            if task is not None:
                task.cancel()
        if self._engine is not None:
            await in_thread(self._engine.close)

    # Changes, one after the other.

    def _begin(self, change: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._change = asyncio.create_task(change)
        return self._change

    async def _load(self) -> None:
        async with self._changing:
            if self._model is not None and str(self._model.device) == resolve_device(self._device):
                return
            self._state, self._progress = State.LOADING, 0.0
            await self._free()
            failure = await self._try_to_load()
            if failure is not None:
                # Only now has the failed attempt let go of what it had loaded.
                await in_thread(free_memory)
                log.error("%s is not loaded: %s", self._entry.id, failure)
                self._failure, self._try_again_at_s = failure, time.monotonic() + self._retry_pause_s
                self._state = State.FAILED

    async def _try_to_load(self) -> str | None:
        """Return why it failed, or None."""
        bar = Bar(self._entry.id, self._tell)
        options = self._options
        try:
            device = resolve_device(self._device)
            bar(0.0)
            model = await in_thread(
                lambda: load(
                    self._entry,
                    device,
                    options.dtype,
                    allow_pickle=options.allow_pickle,
                    tell=lambda loaded: bar(WARMING_UP * loaded),
                )
            )
            if is_worthwhile(self._entry, device):
                await warm_up(model, warmup_request(self._entry, device), self._limits)
            self._engine = Engine(model, self._limits, self._observer)
            if spec := self._entry.token_opt:
                self._optimiser = TokenOptimiser(model, spec, self._limits.max_queue)
        except JubakoError as error:
            return error.message
        except Exception:
            log.exception("%s cannot be loaded", self._entry.id)
            return "the model cannot be loaded; the cause is in the server's log"
        self._model = model
        self._last_used_s = time.monotonic()
        bar(1.0)
        self._state = State.READY
        return None

    def _tell(self, progress: float) -> None:
        self._progress = progress

    async def _unload(self, force: bool) -> None:
        async with self._changing:
            if self._model is None:
                return
            self._state = State.UNLOADING
            await self._free(force)
            self._state, self._progress = State.UNLOADED, 0.0
            log.info("%s is unloaded", self._entry.id)

    async def _free(self, force: bool = False) -> None:
        """Let the running requests end, and give the memory back."""
        if self._engine is None:
            return
        if not force:
            await self._drained.wait()
        await in_thread(self._engine.close)
        self._engine = self._model = self._optimiser = None
        await in_thread(free_memory)

    async def _unload_when_idle(self, idle_s: float) -> None:
        while True:
            now_s = time.monotonic()
            idle_until_s = now_s + idle_s if self._drawing else self._last_used_s + idle_s
            if self._ready and now_s >= idle_until_s:
                await self.unload()
            await asyncio.sleep(max(0.05, idle_until_s - now_s) if self._ready else idle_s)


async def in_thread(work: Callable[[], T]) -> T:
    """Run what blocks in a thread of its own, which does not keep the process from ending."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)
