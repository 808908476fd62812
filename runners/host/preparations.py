"""Loads addons that requests need, such as ControlNets and LoRAs, once for all requests that wait for the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from core.deadline import Deadline
from core.errors import Busy, Cancelled, GenerationFailed, JubakoError
from core.generation.events import Download, Loading
from core.generation.request import GenerationRequest
from models.weights.fetching.downloads import reporting_downloads
from processes.threads import in_thread

log = logging.getLogger("jubako.loading")

REPORT_EVERY_S = 0.25
"""How often a waiting request gets the progress of a download."""
NOTHING: Mapping[str, Any] = {"loras": (), "control_type": None, "reference_image": None, "hires": None}


class WaitingPlaces:
    """Limits the requests that wait before they reach an engine to `most`."""

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

    def __init__(self, prepare: Callable[[GenerationRequest], None], places: WaitingPlaces) -> None:
        """`prepare` blocks until everything is loaded that a request needs; it is called from several threads."""
        self._prepare = prepare
        self._places = places
        self._running: dict[Hashable, asyncio.Task[JubakoError | None]] = {}
        # By what is being loaded.
        self._downloads: dict[str, Download] = {}

    @property
    def download(self) -> Download | None:
        """The progress of one of the current downloads."""
        return next(iter(list(self._downloads.values())), None)

    async def wait(self, request: GenerationRequest, accepted_at_s: float) -> AsyncGenerator[Loading, None]:
        """Yield downloads' progress until everything that a request needs is loaded, or raise why it cannot be.

        Raises Busy if too many wait, DeadlineExceeded, and Cancelled after `cancel`.
        """
        needed = _needs(request)
        if not needed:
            return
        deadline = Deadline(request.deadline_s, accepted_at_s)
        with self._places.one():
            for need, alone in needed.items():
                task = self._task(need, alone)
                async for download in self._downloaded(need, task, deadline):
                    yield Loading(round(download.done_bytes / max(1, download.total_bytes), 3), download)
                if not task.done():
                    raise deadline.exceeded(f"while {need} was loading")
                if task.cancelled():
                    raise Cancelled("the model is being unloaded")
                if error := task.result():
                    raise error

    async def _downloaded(
        self, need: str, task: asyncio.Task[Any], deadline: Deadline
    ) -> AsyncGenerator[Download, None]:
        """Yield changes in a download's progress until the task or the deadline ends."""
        reported: Download | None = None
        while not task.done() and not deadline.passed:
            await asyncio.wait({task}, timeout=min(REPORT_EVERY_S, deadline.left_s))
            download = self._downloads.get(need)
            if download is not None and download != reported:
                reported = download
                yield download

    def cancel(self) -> None:
        """End all waiting. Threads that are loading run to their end."""
        for task in self._running.values():
            task.cancel()

    def _task(self, need: str, alone: GenerationRequest) -> asyncio.Task[JubakoError | None]:
        if need not in self._running:
            task = asyncio.create_task(self._outcome(need, alone))
            self._running[need] = task
            task.add_done_callback(lambda _: self._running.pop(need))
        return self._running[need]

    async def _outcome(self, need: str, alone: GenerationRequest) -> JubakoError | None:
        """Return the failure, not raise it, since asyncio complains about exceptions that are never retrieved."""
        try:
            await in_thread(lambda: self._reported(need, alone))
        except JubakoError as error:
            return error
        except Exception:
            log.exception("%s cannot be loaded", need)
            return GenerationFailed("what the request needs beside the model cannot be loaded")
        return None

    def _reported(self, need: str, alone: GenerationRequest) -> None:
        try:
            with reporting_downloads(need, lambda download: self._downloads.update({need: download})):
                self._prepare(alone)
        finally:
            self._downloads.pop(need, None)


def _needs(request: GenerationRequest) -> dict[str, GenerationRequest]:
    """Return, for each thing needed, by its name in messages, a request that needs nothing else."""
    needs: dict[str, Mapping[str, Any]] = {f"the LoRA {lora.name}": {"loras": (lora,)} for lora in request.loras}
    if request.control_type is not None:
        needs[f"the ControlNet {request.control_type}"] = {"control_type": request.control_type}
    if request.reference_image is not None:
        needs["the IP-Adapter"] = {"reference_image": request.reference_image}
    if request.hires is not None and request.hires.upscaler == "model":
        needs["the upscaling model"] = {"hires": request.hires}
    return {need: request.model_copy(update={**NOTHING, **only}) for need, only in needs.items()}
