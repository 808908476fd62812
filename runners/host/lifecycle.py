"""The states of one model, and the transitions between them, one at a time: load, move, unload."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from core.errors import JubakoError, LoadFailed, LoadInterrupted
from core.generation.events import Download
from models.catalogue.entry import Entry
from models.catalogue.sharing import sharing_file
from models.weights.devices import free_memory, resolve_device
from models.weights.fetching.downloads import reporting_downloads
from models.weights.loading import LoadedModel, load
from models.weights.loading_progress import ProgressLog, Report
from processes.threads import in_thread
from runners.certifying.certify import certified
from runners.engine.lost_device import end_if_lost
from runners.engine.observer import EngineObserver
from runners.host.decode_limits import within_memory
from runners.host.preparations import WaitingPlaces
from runners.host.running_model import RunningModel
from runners.host.warmup import is_worthwhile, warm_up, warmup_requests
from runners.options import EngineLimits, HostOptions
from runners.parallel.group import start_group
from runners.state import ModelState

log = logging.getLogger("jubako.loading")

WARMING_UP = 0.95
"""The progress at which all weights are loaded and the warm-up begins."""
UNEXPLAINED = LoadFailed("the model cannot be loaded; the cause is in the server's log")


class Lifecycle:
    """Lives on one event loop. Every transition ends in READY, UNLOADED or FAILED."""

    def __init__(
        self,
        entry: Entry,
        limits: EngineLimits,
        options: HostOptions,
        observer: EngineObserver | None,
        places: WaitingPlaces,
        retry_pause_s: float,
    ) -> None:
        """`retry_pause_s` is how long after a failed load a request may start another."""
        self.device = options.device
        """The model's device, now or after loading, as the operator named it."""
        self.state = ModelState.UNLOADED
        self.progress = 0.0
        self.download: Download | None = None
        """The download's progress, while a load fetches files."""
        self.failure: LoadFailed | LoadInterrupted = UNEXPLAINED
        """Why the last load failed."""
        self.running: RunningModel | None = None
        self.last_used_s = time.monotonic()
        self.users = 0
        """Requests that are using the model."""
        self._entry = entry
        self._limits = limits
        self._options = options
        self._observer = observer
        self._places = places
        self._retry_pause_s = retry_pause_s
        self._try_again_at_s = 0.0
        self._forced = False
        self._may_free = asyncio.Event()
        self._may_free.set()
        self._changing = asyncio.Lock()
        self._change: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        return self.state is ModelState.READY

    @contextmanager
    def used(self) -> Iterator[RunningModel]:
        """Use the model, which must be ready; during the block, it is unloaded only by `force`."""
        assert self.running is not None, "it is ready"
        self.users += 1
        self._update_may_free()
        try:
            yield self.running
        finally:
            self.users -= 1
            self.last_used_s = time.monotonic()
            self._update_may_free()

    def change_to_ready(self) -> asyncio.Task[None]:
        """Return the transition that a request must wait for, starting a load if needed. Raises the last load's
        failure, LoadFailed or LoadInterrupted, while it is too early for another.
        """
        if self._change is not None and not self._change.done():
            return self._change
        if self.state is ModelState.FAILED and time.monotonic() < self._try_again_at_s:
            raise self.load_failed()
        return self.load()

    def load_failed(self) -> LoadFailed | LoadInterrupted:
        """Return why the last load failed."""
        if self.failure.retry_after_s is None:
            return LoadFailed(str(self.failure))
        left_s = self._try_again_at_s - time.monotonic()
        return LoadInterrupted(str(self.failure), max(1, round(left_s)))

    def load(self, device: str | None = None) -> asyncio.Task[None]:
        """Start loading the model, or moving it to another device once its running requests are done.

        Raises InvalidRequest for a device that does not exist. The task ends when the model is ready, or failed.
        """
        if device is not None:
            self.device = resolve_device(device)
        return self._begin(self._load())

    def unload(self, force: bool = False) -> asyncio.Task[None]:
        """Start freeing the model once its running requests are done; `force` cancels them.

        With `force`, it does not queue behind a transition that waits for running requests, but cancels these first.
        """
        if force:
            self._forced = True
            self._update_may_free()
        return self._begin(self._unload(force))

    async def close(self) -> None:
        """Cancel all that is unfinished."""
        if self._change is not None:
            self._change.cancel()
        if self.running is not None:
            await self.running.close()

    def _update_may_free(self) -> None:
        if self.users and not self._forced:
            self._may_free.clear()
        else:
            self._may_free.set()

    def _begin(self, change: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        self._change = asyncio.create_task(change)
        return self._change

    async def _load(self) -> None:
        async with self._changing:
            if self.running is not None and str(self.running.model.device) == resolve_device(self.device):
                return
            self.state, self.progress = ModelState.LOADING, 0.0
            failure: LoadFailed | LoadInterrupted | None = UNEXPLAINED
            try:
                await self._free()
                failure = await self._try_to_load()
            finally:
                if failure is not None:
                    log.error("%s failed to load: %s", self._entry.id, failure)
                    self.failure, self._try_again_at_s = failure, time.monotonic() + self._retry_pause_s
                    self.state = ModelState.FAILED

    async def _try_to_load(self) -> LoadFailed | LoadInterrupted | None:
        """Return the failure, or None."""
        failure = await self._read_and_warm_up()
        if failure is not None:
            # Only now is what the failed attempt had loaded no longer referred to.
            await self._give_memory_back()
        return failure

    async def _read_and_warm_up(self) -> LoadFailed | LoadInterrupted | None:
        entry = self._entry
        progress = ProgressLog(entry.id, self._set_progress)
        try:
            device = resolve_device(self.device)
            progress(0.0)
            model = await in_thread(lambda: self._fetch_and_read(device, lambda read: progress(WARMING_UP * read)))
            if entry.pipeline is not None:
                model = await certified(entry, model, self._sharing_file)
            with ExitStack() as helpers:
                if entry.parallel is not None:
                    size = entry.device_count
                    helpers.callback((await in_thread(lambda: start_group(model, device, size))).close)
                limits = within_memory(entry, model, self._limits, self._options.memory_bounds)
                if is_worthwhile(entry, device):
                    await warm_up(model, warmup_requests(entry, model), limits)
                self.running = RunningModel(entry, model, limits, self._observer, self._places, helpers.pop_all())
        except JubakoError as error:
            return _without_traces(error)
        except Exception:
            log.exception("%s cannot be loaded", entry.id)
            return UNEXPLAINED
        self.last_used_s = time.monotonic()
        progress(1.0)
        self.state = ModelState.READY
        return None

    def _fetch_and_read(self, device: str, report: Report) -> LoadedModel:
        options = self._options
        try:
            with reporting_downloads(self._entry.id, self._set_download):
                return load(
                    self._entry,
                    device,
                    options.dtype,
                    allow_pickle=options.allow_pickle,
                    compiled_code=options.compiled_code,
                    report=report,
                )
        finally:
            self.download = None

    def _set_download(self, download: Download) -> None:
        self.download = download

    @property
    def _sharing_file(self) -> Path | None:
        folder = self._options.sharing_folder
        return None if folder is None else sharing_file(folder, self._entry)

    def _set_progress(self, progress: float) -> None:
        self.progress = progress
        if progress > 0:
            # Reading has begun, so the download is complete.
            self.download = None

    async def _unload(self, force: bool) -> None:
        async with self._changing:
            try:
                if self.running is not None:
                    self.state = ModelState.UNLOADING
                    await self._free(force)
                    log.info("%s has been unloaded", self._entry.id)
            finally:
                if self.state is ModelState.UNLOADING:
                    self.state, self.progress = ModelState.UNLOADED, 0.0
                self._end_force()

    def _end_force(self) -> None:
        self._forced = False
        self._update_may_free()

    async def _free(self, force: bool = False) -> None:
        """Wait for the running requests, or with `force` cancel them, and free the memory."""
        if self.running is None:
            return
        if not force:
            await self._may_free.wait()
        running, self.running = self.running, None
        try:
            await running.close()
        except Exception:
            log.exception("%s did not close cleanly", self._entry.id)
        self._end_force()
        del running
        await self._give_memory_back()

    async def _give_memory_back(self) -> None:
        try:
            await in_thread(free_memory)
        except Exception:
            # The next load will find out whether there is enough.
            log.exception("the memory of %s cannot be released", self._entry.id)
            end_if_lost(resolve_device(self.device))


def _without_traces(error: JubakoError) -> LoadFailed | LoadInterrupted:
    """Return a copy of a load's failure, for requests: the original's traceback keeps everything loaded alive."""
    if error.retry_after_s is None:
        return LoadFailed(str(error))
    return LoadInterrupted(str(error), error.retry_after_s)
