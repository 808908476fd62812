"""Loads what requests need beside the model (ControlNets, IP-Adapters, LoRAs), once for all that wait for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core.deadline import Deadline
from core.errors import Busy, Cancelled, GenerationFailed, JubakoError
from core.generation.request import GenerationRequest
from processes.threads import in_thread

log = logging.getLogger("jubako.loading")

NOTHING: Mapping[str, Any] = {"loras": (), "control_type": None, "reference_image": None}


class Places:
    """Limits how many requests wait before they reach an engine, to `most`."""

    def __init__(self, model: str, most: int) -> None:
        self._model = model
        self._most = most
        self.taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Take a place until the block ends. Raises Busy when none is free."""
        if self.taken >= self._most:
            raise Busy(f"{self.taken} requests are waiting for {self._model}; try again later")
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1


class Preparations:
    """The preparations for one engine; lives on one event loop."""

    def __init__(self, prepare: Callable[[GenerationRequest], None], places: Places) -> None:
        """`prepare` blocks until everything is loaded that a request needs; it is called from several threads."""
        self._prepare = prepare
        self._places = places
        self._running: dict[Hashable, asyncio.Task[JubakoError | None]] = {}

    async def wait(self, request: GenerationRequest, accepted_at_s: float) -> None:
        """Return once everything is loaded that a request needs, or raise why it cannot be.

        Raises Busy when too many wait, DeadlineExceeded, and Cancelled after `cancel`.
        """
        needed = _needs(request)
        if not needed:
            return
        deadline = Deadline(request.deadline_s, accepted_at_s)
        with self._places.one():
            for need, alone in needed.items():
                task = self._task(need, alone)
                await asyncio.wait({task}, timeout=deadline.left_s)
                if not task.done():
                    raise deadline.exceeded(f"while {need} was loading")
                if task.cancelled():
                    raise Cancelled("the model is being unloaded")
                if error := task.result():
                    raise error

    def cancel(self) -> None:
        """End all waiting. Threads that are loading end on their own."""
        for task in self._running.values():
            task.cancel()

    def _task(self, need: str, alone: GenerationRequest) -> asyncio.Task[JubakoError | None]:
        if need not in self._running:
            task = asyncio.create_task(self._outcome(need, alone))
            self._running[need] = task
            task.add_done_callback(lambda _: self._running.pop(need))
        return self._running[need]

    async def _outcome(self, need: str, alone: GenerationRequest) -> JubakoError | None:
        """Return why it failed. As a result, since asyncio complains of exceptions that nobody retrieves."""
        try:
            await in_thread(lambda: self._prepare(alone))
        except JubakoError as error:
            return error
        except Exception:
            log.exception("%s cannot be loaded", need)
            return GenerationFailed("what the request needs beside the model cannot be loaded")
        return None


def _needs(request: GenerationRequest) -> dict[str, GenerationRequest]:
    """For each thing needed, as messages name it: a request that needs nothing else."""
    needs: dict[str, Mapping[str, Any]] = {f"the LoRA {lora.name}": {"loras": (lora,)} for lora in request.loras}
    if request.control_type is not None:
        needs[f"the ControlNet {request.control_type}"] = {"control_type": request.control_type}
    if request.reference_image is not None:
        needs["the IP-Adapter"] = {"reference_image": request.reference_image}
    return {need: request.model_copy(update={**NOTHING, **only}) for need, only in needs.items()}
