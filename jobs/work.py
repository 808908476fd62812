"""Doing one job: from its record to files in storage, through whatever breaks on the way.

What passes by itself (a busy or dead runner, storage or Redis away) is waited for. What does not ends the job with
its reason. A worker that dies leaves the record as it is, and the queue gives the job to another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Protocol, TypeVar

from errors import Busy, DeadlineExceeded, GenerationFailed, JubakoError, LoadFailed, RunnerLost
from jobs.bus import Bus
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.inputs import restore_request
from jobs.job import Ending, Job, Result
from jobs.ledger import Change, Ledger
from jobs.telemetry import changed, in_hand
from models.request import GenerationRequest
from runners import events
from runners.events import Event
from storage.client import Storage
from storage.errors import StorageUnavailable
from storage.keys import result_key

log = logging.getLogger("jubako.jobs")
T = TypeVar("T")

DRAWN_PROGRESS = 95
"""Per cent of a job that is drawn and not yet stored."""
MAX_ATTEMPTS = 20
"""A job may also end the gateway, and so never report a lost runner; restarts for other reasons are fewer."""
LOOK_S = 2.0
"""How often a job in hand is looked up."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class _EndedElsewhereError(Exception):
    """Somebody else ended the job that is in hand."""


@dataclass(frozen=True)
class File:
    """A result as it will be stored."""

    data: bytes
    media_type: str
    seed: int


class Producer(Protocol):
    """What draws, and what makes files of it."""

    def draw(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield events down to the last result; raise the JubakoError that ended the drawing."""

    def encode(self, request: GenerationRequest, result: events.Result, job: Job) -> File:
        """Make the file of one result; takes time."""

    def encode_preview(self, preview: events.Preview) -> str:
        """Return a preview as a data URL."""


@dataclass(frozen=True)
class Worker:
    ledger: Ledger
    bus: Bus
    storage: Storage
    producer: Producer
    max_runners_lost: int
    """How many times a job may end the model's process before it is the job's fault."""
    on_end: Callable[[Job], Awaitable[None]]
    """Called once a job has ended, whoever ended it."""
    suspects: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """By model."""

    async def run(self, job_id: str) -> None:
        """Do a job. Cancelling the task stops the drawing and leaves the record as it is."""
        job = await self._begin(job_id)
        if job.state.final:
            return
        try:
            with in_hand(str(job.request["model"])):
                results = await self._unless_ended(job_id, self._results(job))
        except _EndedElsewhereError:
            return
        except JubakoError as error:
            await self._end(job_id, partial(Job.failed, error=error.message))
        except Exception:
            log.exception("job %s failed", job_id)
            await self._end(job_id, partial(Job.failed, error="an internal error; the server's log has the cause"))
        else:
            await self._end(job_id, partial(Job.completed, results=results))

    async def _end(self, job_id: str, change: Change) -> Job:
        ending = Ending(change)
        job = await self._keep(job_id, ending)
        if ending.made(job):
            await self.announce_end(job)
        return job

    async def _unless_ended(self, job_id: str, work: Coroutine[Any, Any, T]) -> T:
        """Do the work unless somebody ends the job meanwhile; who cancels it may not reach its queue."""
        working, watching = asyncio.create_task(work), asyncio.create_task(self._ended(job_id))
        try:
            await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise _EndedElsewhereError
            return working.result()
        finally:
            working.cancel()
            watching.cancel()
            await asyncio.wait({working, watching})

    async def _ended(self, job_id: str) -> None:
        """Return once the record says that the job has ended, or is gone."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(LedgerUnavailable):
                try:
                    job = await self.ledger.get(job_id)
                except UnknownJob:
                    return
                if job.state.final:
                    return

    async def announce_end(self, job: Job) -> None:
        """Tell watchers, the log and whoever waits that a job has ended, and drop what only the drawing needed."""
        changed(job)
        await self.tell(job, str(job.state), error=job.error, last=True)
        await self.on_end(job)
        if job.inputs:
            await _patiently(lambda: self.storage.delete(list(job.inputs.values())), StorageUnavailable)

    async def tell(self, job: Job, name: str, last: bool = False, **details: Any) -> None:
        """Publish an event; a bus that is away loses it."""
        event = {"event": name, "progress": job.progress, "message": job.message, **details}
        try:
            await self.bus.publish(job.id, event, last)
        except LedgerUnavailable:
            log.warning("job %s: nobody could be told of %r", job.id, name)

    async def _begin(self, job_id: str) -> Job:
        job = await self._keep(job_id, Job.begun)
        if job.state.final:
            return job
        if job.attempts > MAX_ATTEMPTS:
            reason = f"given up after {MAX_ATTEMPTS} attempts, none of which came to an end"
            return await self._end(job_id, partial(Job.failed, error=reason))
        changed(job)
        return job

    async def _results(self, job: Job) -> tuple[Result, ...]:
        request = await _patiently(lambda: restore_request(job.request, job.inputs, self.storage), StorageUnavailable)
        files = await self._drawn(job, request)
        saving = job.advanced(DRAWN_PROGRESS, "Generation complete, saving the result...")
        await self.tell(saving, "saving")
        return tuple([await self._stored(job, index, len(files), file) for index, file in enumerate(files)])

    async def _drawn(self, job: Job, request: GenerationRequest) -> list[File]:
        """Draw until it succeeds, or fails for a reason of the request's own."""
        for pause_s in _pauses():
            try:
                async with self._alone(job):
                    return await self._draw_once(job, _within_deadline(job, request))
            except LoadFailed:
                # Gated, missing, damaged or too large: an operator's work, not a matter of time.
                raise
            except Busy as error:
                await self.tell(job.advanced(0, f"Waiting: {error.message}"), "waiting")
            except RunnerLost:
                job = await self._keep(job.id, Job.begun_again)
                if job.state.final or job.runners_lost >= self.max_runners_lost:
                    reason = f"given up: {job.runners_lost} times the model's process ended while it was drawn"
                    raise GenerationFailed(reason) from None
                await self.tell(job, "waiting")
            await asyncio.sleep(pause_s)
        raise AssertionError("pauses have no end")

    def _alone(self, job: Job) -> AbstractAsyncContextManager[Any]:
        """One at a time, those under which the model's process ended: only one of them is to blame."""
        return self.suspects[str(job.request["model"])] if job.runners_lost else nullcontext()

    async def _draw_once(self, job: Job, request: GenerationRequest) -> list[File]:
        progress = _Progress(job, request.num_images)
        files: dict[int, File] = {}
        async with aclosing(self.producer.draw(request)) as happenings:
            async for event in happenings:
                if isinstance(event, events.Result):
                    files[event.index] = await asyncio.to_thread(self.producer.encode, request, event, job)
                else:
                    await self._tell_of(event, progress)
        return [files[index] for index in sorted(files)]

    async def _tell_of(self, event: Event, progress: _Progress) -> None:
        match event:
            case events.Step():
                await self.tell(progress.after(event), "step", step=event.step, steps=event.steps, index=event.index)
            case events.Preview():
                image = await asyncio.to_thread(self.producer.encode_preview, event)
                await self.tell(progress.job, "preview", step=event.step, index=event.index, image=image)
            case events.Queued():
                await self.tell(progress.job, "queued", position=event.position)
            case events.Loading():
                await self.tell(progress.job.advanced(0, "Loading the model"), "loading", loaded=event.progress)
            case events.Started():
                await self.tell(progress.job, "started")
            case _:
                raise AssertionError(f"{event} ends a drawing and is raised as an error")

    async def _stored(self, job: Job, index: int, count: int, file: File) -> Result:
        key = result_key(job.id, job.created_at, file.media_type, index if count > 1 else None)
        await _patiently(lambda: self.storage.put(key, file.data, file.media_type), StorageUnavailable)
        return Result(key=key, media_type=file.media_type, seed=file.seed)

    async def _keep(self, job_id: str, change: Change) -> Job:
        return await _patiently(lambda: self.ledger.change(job_id, change), LedgerUnavailable)


def _within_deadline(job: Job, request: GenerationRequest) -> GenerationRequest:
    """Return the request with what is left of its deadline, which began with the job. Raises DeadlineExceeded."""
    if request.deadline_s is None:
        return request
    left_s = request.deadline_s - (datetime.now(UTC) - job.created_at).total_seconds()
    if left_s <= 0:
        raise DeadlineExceeded(f"deadline_s: {request.deadline_s:g} s have passed")
    return request.model_copy(update={"deadline_s": left_s})


class _Progress:
    """How far a job of several pictures is, by their steps."""

    def __init__(self, job: Job, pictures: int) -> None:
        self.job = job
        self._done = [0.0] * pictures

    def after(self, event: events.Step) -> Job:
        self._done[event.index] = event.step / event.steps
        share = sum(self._done) / len(self._done)
        self.job = self.job.advanced(int(DRAWN_PROGRESS * share), f"Step {event.step} of {event.steps}")
        return self.job


def _pauses() -> Iterator[float]:
    pause_s = FIRST_PAUSE_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)


async def _patiently(attempt: Callable[[], Awaitable[T]], passing: type[JubakoError]) -> T:
    """Try until an outage is over; a cancelled job stops trying."""
    for pause_s in _pauses():
        try:
            return await attempt()
        except passing as error:
            log.warning("%s; again in %g s", error.message, pause_s)
            await asyncio.sleep(pause_s)
    raise AssertionError("pauses have no end")
