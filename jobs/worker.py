"""Does one job, from its record to files in storage, despite failures on the way.

Temporary failures (a busy or dead runner, storage or Redis away) are waited out; any other ends the job with its
reason. A worker that dies leaves the record unchanged, and the queue gives the job to another.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar

from core.asyncio_tasks import first_of
from core.caller import Caller, set_caller
from core.errors import Busy, GenerationFailed, JubakoError, RunnerLost
from core.generation.request import Priority
from jobs.bus import Bus
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.inputs import restored_fields
from jobs.job import Ending, Job, JobState, StoredResult
from jobs.kinds import File, JobRequest, JobUpdate, Kinds, NumberedFile
from jobs.ledger.ledger import JobTransition, Ledger
from jobs.telemetry import changed, in_hand
from storage.client import Storage
from storage.errors import StorageUnavailable
from storage.file_keys import result_key

log = logging.getLogger("jubako.jobs")
T = TypeVar("T")

DRAWN_PROGRESS = 95
"""Progress, in per cent, of a job whose results are generated but not yet stored."""
MAX_ATTEMPTS = 20
"""Bounds jobs that kill the gateway itself, and so never report a lost runner; other restarts are fewer than this."""
LOOK_S = 2.0
"""How often the record of a job in hand is looked up."""
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 15.0


class _TurnOverError(Exception):
    """The running job has ended, moved to another line, or been taken up by another worker."""


@dataclass(frozen=True)
class Worker:
    ledger: Ledger
    bus: Bus
    storage: Storage
    kinds: Kinds
    max_runners_lost: int
    """How many times the model's process may end during a job before the job is blamed."""
    result_ttl: timedelta | None
    """How long results are kept; None is for ever."""
    on_end: Callable[[Job], Awaitable[None]]
    """Called once a job has ended, for whatever reason."""
    caller_of: Callable[[Job], Caller]
    """The caller whose rates are charged for what a job needs beyond its acceptance."""
    suspects: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Locks by model."""

    async def run(self, job_id: str, line: Priority) -> None:
        """Do a job taken from a priority's line; a job that has moved to another line is left to that line's worker.

        Cancelling the task stops generation and leaves the record unchanged.
        """
        job = await self._begin(job_id, line)
        if job.state.final or job.priority is not line:
            return
        set_caller(self.caller_of(job))
        try:
            with in_hand(job.model):
                results = await self._in_its_turn(job, self._results(job))
        except _TurnOverError:
            return
        except JubakoError as error:
            await self._fail(job, error.message)
        except Exception:
            log.exception("job %s failed", job_id)
            await self._fail(job, "an internal error; the server's log has the cause")
        else:
            # Even if another worker has the job by now: it would make the same files.
            await self._end(job_id, partial(Job.completed, results=results))

    async def give_up_waiting(self, job_id: str) -> Job:
        """End a job that no worker has begun, if its deadline has passed; return the job. Raises UnknownJob."""
        return await self._end(job_id, _given_up)

    async def _end(self, job_id: str, change: JobTransition) -> Job:
        ending = Ending(change)
        job = await self._keep(job_id, ending)
        if job.state.final and ending.made(job):
            await self.announce_end(job)
        return job

    async def _fail(self, job: Job, reason: str) -> None:
        """End a job with a reason, unless another worker has it by now, which may succeed."""
        await self._end(job.id, lambda kept: kept.failed(reason) if kept.has_turn(job.turn) else kept)

    async def _in_its_turn(self, job: Job, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while the job's turn lasts, by its record, since a cancellation may not reach the queue."""
        return await first_of(work, self._turn_over(job), _TurnOverError())

    async def _turn_over(self, job: Job) -> None:
        """Return once the record is gone, or says that the turn is over."""
        while True:
            await asyncio.sleep(LOOK_S)
            with suppress(LedgerUnavailable):
                try:
                    kept = await self.ledger.get(job.id)
                except UnknownJob:
                    return
                if not kept.has_turn(job.turn):
                    return

    async def announce_end(self, job: Job) -> None:
        """Publish and log that a job has ended, notify its webhook, and delete its inputs unless they are kept."""
        changed(job)
        await self.publish(job, str(job.state), error=job.error, last=True)
        await self.on_end(job)
        if job.inputs and not job.keeps_inputs:
            await _patiently(lambda: self.storage.delete(list(job.inputs.values())), StorageUnavailable)

    async def publish(self, job: Job, name: str, last: bool = False, **details: Any) -> None:
        """Publish an event; it is lost if the bus is away."""
        event = {"event": name, "progress": job.progress, "message": job.message, **details}
        try:
            await self.bus.publish(job.id, event, last)
        except LedgerUnavailable:
            log.warning("job %s: the event %r is lost", job.id, name)

    async def _begin(self, job_id: str, line: Priority) -> Job:
        job = await self._keep(job_id, lambda job: job.begun() if job.priority is line else job)
        if job.state.final or job.priority is not line:
            return job
        if job.attempts > MAX_ATTEMPTS:
            reason = f"given up after {MAX_ATTEMPTS} attempts, none of which came to an end"
            return await self._end(job_id, partial(Job.failed, error=reason))
        changed(job)
        return job

    async def _results(self, job: Job) -> tuple[StoredResult, ...]:
        async with job.deadline.limiting("while its images could not be read"):
            fields = await _patiently(
                lambda: restored_fields(job.request, job.inputs, self.storage), StorageUnavailable
            )
        files = await self._generate(job, self.kinds[job.kind].restore(fields))
        saving = job.advanced(DRAWN_PROGRESS, "Generation complete, saving the result...")
        await self.publish(saving, "saving")
        return tuple([await self._stored(job, index, len(files), file) for index, file in enumerate(files)])

    async def _generate(self, job: Job, request: JobRequest) -> list[File]:
        """Draw, again and again until it succeeds or fails for a reason in the request itself."""
        for pause_s in _pauses():
            try:
                async with AsyncExitStack() as turn:
                    async with job.deadline.limiting("while it waited for its turn to be tried alone"):
                        await turn.enter_async_context(self._alone(job))
                    return await self._draw_once(job, job.deadline.remaining(request))
            except Busy as error:
                await self.publish(job.advanced(0, f"Waiting: {error.message}"), "waiting")
            except RunnerLost:
                job = await self._begun_again(job)
                if job.runners_lost >= self.max_runners_lost:
                    reason = f"given up: {job.runners_lost} times the model's process ended during it"
                    raise GenerationFailed(reason) from None
                await self.publish(job, "waiting")
            await asyncio.sleep(min(pause_s, job.deadline.left_s))
        raise AssertionError("pauses have no end")

    async def _begun_again(self, job: Job) -> Job:
        """Record that the model's process has ended during a job, and return it. Raises _TurnOverError."""
        again = await self._keep(job.id, lambda kept: kept.begun_again() if kept.has_turn(job.turn) else kept)
        if not again.has_turn(job.turn):
            raise _TurnOverError
        return again

    def _alone(self, job: Job) -> AbstractAsyncContextManager[Any]:
        """Let jobs during which the model's process ended run one at a time, since only one of them is to blame."""
        return self.suspects[job.model] if job.runners_lost else nullcontext()

    async def _draw_once(self, job: Job, request: JobRequest) -> list[File]:
        files: dict[int, File] = {}
        async with aclosing(self.kinds[job.kind].carry_out(request, job)) as events:
            async for event in events:
                if isinstance(event, NumberedFile):
                    files[event.index] = event.file
                else:
                    if event.hint is not None:
                        await self._keep(job.id, partial(Job.hinted, hint=event.hint))
                    job = _further(job, event)
                    await self.publish(job, event.name, **event.details)
        return [files[index] for index in sorted(files)]

    async def _stored(self, job: Job, index: int, count: int, file: File) -> StoredResult:
        key = result_key(job.id, job.created_at, file.media_type, index if count > 1 else None)
        await _patiently(lambda: self.storage.put(key, file.data, file.media_type), StorageUnavailable)
        await _patiently(lambda: self.ledger.keep_files(job.owner, [key], self.result_ttl), LedgerUnavailable)
        return StoredResult(
            key=key,
            media_type=file.media_type,
            seed=file.seed,
            skipped_steps=file.skipped_steps,
            tiled=file.tiled,
            sound=file.sound,
        )

    async def _keep(self, job_id: str, change: JobTransition) -> Job:
        return await _patiently(lambda: self.ledger.change(job_id, change), LedgerUnavailable)


def _given_up(job: Job) -> Job:
    waits = job.state is JobState.PENDING and job.deadline.passed
    return job.failed(job.deadline.exceeded("while the job waited in line").message) if waits else job


def _further(job: Job, event: JobUpdate) -> Job:
    """Return the job with the progress of an event."""
    return job.advanced(int(DRAWN_PROGRESS * event.share), event.message or job.message)


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
            log.warning("%s; again in %g s", error, pause_s)
            await asyncio.sleep(pause_s)
    raise AssertionError("pauses have no end")
