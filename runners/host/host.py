"""One model in its runner: generates requests, and loads and unloads the model for them or for an operator.

A host lives on one event loop. Loading happens in a thread, so that waiting requests get progress; they wait up to
their deadlines.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

import torch

from core.deadline import Deadline
from core.errors import InvalidRequest, JubakoError
from core.generation.events import Event, Failed, Loading
from core.generation.request import GenerationRequest
from models.catalogue.entry import Entry
from models.catalogue.memory.parallel import in_a_row
from models.weights.devices import allocated_gib, available_devices, device_memory_gib, resolve_device
from models.weights.loading import LoadedModel
from runners.engine.observer import EngineObserver
from runners.host.card_figures import cards
from runners.host.lifecycle import Lifecycle
from runners.host.preparations import WaitingPlaces
from runners.options import EngineLimits, HostOptions
from runners.state import ModelState, RunnerState

REPORT_EVERY_S = 0.25
"""How often a waiting request gets the progress of loading."""
RETRY_PAUSE_S = 10.0
"""How long after a failed load a request may start another."""


class Host:
    """Generates requests with a model that it loads when it is needed."""

    def __init__(
        self,
        entry: Entry,
        limits: EngineLimits,
        options: HostOptions,
        observer: EngineObserver | None = None,
        retry_pause_s: float = RETRY_PAUSE_S,
    ) -> None:
        if options.threads is not None:
            torch.set_num_threads(options.threads)
        self._entry = entry
        self._idle_unload_s = options.idle_unload_s
        self._places = WaitingPlaces(entry.id, limits.max_running + limits.max_queue)
        self._life = Lifecycle(entry, limits, options, observer, self._places, retry_pause_s)
        self._first_load: asyncio.Task[None] | None = None
        self._idle_watch: asyncio.Task[None] | None = None

    # Requests.

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate a request and yield its events; closing the generator cancels it."""
        accepted_at_s = time.monotonic()
        try:
            async with aclosing(self._until_ready(Deadline(request.deadline_s, accepted_at_s))) as waiting:
                async for loading in waiting:
                    yield loading
            with self._life.used() as running:
                async with aclosing(running.submit(request, accepted_at_s)) as events:
                    async for event in events:
                        yield event
        except JubakoError as error:
            yield Failed.of(error)

    async def _until_ready(self, deadline: Deadline) -> AsyncGenerator[Loading, None]:
        """Yield progress until the model can generate. Raises Busy, LoadFailed, LoadInterrupted or DeadlineExceeded."""
        life = self._life
        if life.ready:
            return
        reported: Loading | None = None
        with self._places.one():
            while not life.ready:
                change = life.change_to_ready()
                now = Loading(round(max(life.progress, reported.progress if reported else 0.0), 3), life.download)
                if now != reported:
                    reported = now
                    yield now
                await asyncio.wait({change}, timeout=min(REPORT_EVERY_S, deadline.left_s))
                if change.done() and life.state is ModelState.FAILED:
                    raise life.load_failed()
                if deadline.passed and not life.ready:
                    raise deadline.exceeded("while the model was loading")

    # Operators.

    def start(self, load: bool) -> None:
        """Start watching for idle times and, with `load`, loading the model."""
        if self._idle_unload_s is not None:
            self._idle_watch = asyncio.create_task(self._unload_when_idle(self._idle_unload_s))
        if load:
            self._first_load = self.load()

    def load(self, device: str | None = None) -> asyncio.Task[None]:
        """Start loading the model, or moving it to another device once its running requests are done.

        Raises InvalidRequest for a device that does not exist. The task ends when the model is ready, or failed.
        """
        return self._life.load(device)

    async def unload(self, force: bool = False) -> None:
        """Free the model once its running requests are done; `force` cancels them."""
        await asyncio.shield(self._life.unload(force))

    def state(self) -> RunnerState:
        """Report the model's state, device and load."""
        life = self._life
        failure = life.load_failed() if life.state is ModelState.FAILED else None
        engine, model = (life.running.engine, life.running.model) if life.running else (None, None)
        download = life.running.download if life.running else life.download
        return RunnerState(
            model=self._entry.id,
            state=life.state,
            progress=round(life.progress, 3),
            **({} if download is None else {"download": download}),
            error=failure and failure.message,
            retry_after_s=failure and failure.retry_after_s,
            device=str(model.device) if model else self._wanted_device(),
            wanted_device=self._wanted_device(),
            **({"also_on": others} if (others := self._other_devices(model)) else {}),
            **({"components_on": others} if (others := self._devices_of_components(model)) else {}),
            dtype=model and model.dtype,
            devices=tuple(available_devices()),
            device_memory_gib={device: round(device_memory_gib(device), 3) for device in available_devices()},
            memory_gib=model and round(allocated_gib(str(model.device)) or model.weights_gib, 3),
            **({"addons_gib": round(engine.addons_gib, 3)} if engine and engine.addons_gib else {}),
            **({"cards": seen} if (seen := cards()) else {}),
            **({} if model is None or model.sharing is None else {"sharing": model.sharing}),
            running=engine.running if engine else 0,
            queued=self._places.taken + (engine.queued if engine else 0),
            pid=os.getpid(),
        )

    @property
    def settled(self) -> bool:
        """Whether the load at the start, if one was wanted, has ended."""
        return self._first_load is None or self._first_load.done()

    def _wanted_device(self) -> str:
        """Return where the next load puts the model; it may be on its way there."""
        try:
            return resolve_device(self._life.device)
        except InvalidRequest:
            return self._life.device

    def _other_devices(self, model: LoadedModel | None) -> tuple[str, ...]:
        """Return the devices of the model's other processes, now and after the next load."""
        there, count = available_devices(), self._entry.device_count
        firsts = [self._wanted_device(), *([str(model.device)] if model else [])]
        return tuple(dict.fromkeys(device for first in firsts for device in in_a_row(first, count, there)[1:]))

    def _devices_of_components(self, model: LoadedModel | None) -> tuple[str, ...]:
        """Return the devices of components that are not on the model's; on a CPU there are none."""
        firsts = {self._wanted_device(), *([str(model.device)] if model else [])}
        return () if firsts == {"cpu"} else tuple(sorted({*self._entry.components.values()}))

    async def close(self) -> None:
        """Cancel all that is unfinished."""
        if self._idle_watch is not None:
            self._idle_watch.cancel()
        await self._life.close()

    async def _unload_when_idle(self, idle_s: float) -> None:
        life = self._life
        while True:
            now_s = time.monotonic()
            idle_until_s = now_s + idle_s if life.users else life.last_used_s + idle_s
            if life.ready and now_s >= idle_until_s:
                await self.unload()
            await asyncio.sleep(max(0.05, idle_until_s - now_s) if life.ready else idle_s)
