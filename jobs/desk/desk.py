"""The jobs of one gateway process: accepts them, has them done, and answers questions about any job."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from core.asyncio_tasks import end
from core.caller import Caller
from core.errors import JubakoError
from core.generation.request import Priority
from jobs.bus import Bus, JobEvent
from jobs.desk.acceptance import Acceptance
from jobs.desk.deadlines import Deadlines
from jobs.desk.order import Order
from jobs.desk.settings import DeskSettings
from jobs.errors import LedgerUnavailable, NotEnded, NotWaiting, UnknownJob
from jobs.job import Ending, Job, JobState
from jobs.kinds import Kinds
from jobs.ledger.ledger import Ledger, LedgerPage
from jobs.queue import JobQueue
from jobs.telemetry import changed, measure_queue
from jobs.webhooks.sender import WebhookSender
from jobs.worker import Worker
from storage.client import Storage
from storage.errors import NotStored
from storage.file_keys import INPUTS, RESULTS

log = logging.getLogger("jubako.jobs")

RECONCILE_S = 30.0
"""How often the ledger is compared with the queue, to find jobs that were accepted but not queued."""
MEASURE_S = 5.0
SWEEP = timedelta(minutes=10)
FINAL_EVENTS = frozenset(str(state) for state in JobState if state.final)
LOOK_AGAIN_S = 15.0
"""How often watchers get at least one event, since a job's last event may be lost in a crash."""
POSITION_S = 2.0
"""How often the position in the queue is sent."""


class JobDesk:
    def __init__(
        self,
        settings: DeskSettings,
        ledger: Ledger,
        bus: Bus,
        storage: Storage,
        kinds: Kinds,
        sender: WebhookSender,
        caller_of: Callable[[Job], Caller],
    ) -> None:
        """`caller_of` returns a job's caller, with their current limits."""
        self._settings = settings
        self._ledger = ledger
        self._bus = bus
        self._storage = storage
        self._sender = sender
        self._acceptance = Acceptance(settings, ledger, storage)
        self._worker = Worker(
            ledger,
            bus,
            storage,
            kinds,
            settings.max_runners_lost,
            settings.result_ttl,
            self._after,
            caller_of,
        )
        self._queue = JobQueue(settings.queue, self._worker.run, self._notify)
        self._deadlines = Deadlines(self._give_up)
        self._chores: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect to everything, take up unfinished jobs, and begin to work.

        Redis may not be up yet: everything else starts meanwhile.
        """
        await self._ledger.open()
        await self._queue.open()
        try:
            await self._reconcile()
        except LedgerUnavailable as error:
            log.warning("%s; jobs are taken up once it answers", error)
        self._chores = [
            asyncio.create_task(self._regularly(RECONCILE_S, self._reconcile)),
            asyncio.create_task(self._regularly(MEASURE_S, lambda: measure_queue(self._ledger))),
            asyncio.create_task(self._regularly(SWEEP.total_seconds(), self._sweep)),
        ]

    async def finished(self) -> None:
        """Stop taking jobs, and return once none is in hand."""
        await self._queue.finished()

    async def close(self) -> None:
        """Stop working; no accepted job is lost."""
        await end(self._chores)
        await self._deadlines.close()
        await self._queue.close()
        await self._bus.close()
        await self._ledger.close()

    async def submit(self, order: Order) -> Job:
        """Accept one order, as `submit_all` does."""
        return (await self.submit_all([order]))[0]

    async def submit_all(self, orders: Sequence[Order]) -> list[Job]:
        """Accept orders of one caller, all or none: once this returns, the jobs are on record.

        An idempotency key that was used before returns the earlier jobs. Raises TooManyJobs, TooManyResults, KeyReused,
        InvalidRequest for a webhook, StorageUnavailable and LedgerUnavailable.
        """
        accepted = await self._acceptance.accept(orders)
        if accepted.digests is not None:
            for job, digest in zip(accepted.jobs, accepted.digests, strict=True):
                await self._begin(job, digest)
        return accepted.jobs

    async def earlier(self, owner: str, idempotency_key: str | None, fingerprint: str | None) -> list[Job]:
        """Return the jobs that an owner submitted with this key before; empty for a new key. Raises KeyReused."""
        return await self._acceptance.earlier(owner, idempotency_key, fingerprint)

    async def _begin(self, job: Job, digest: str | None) -> None:
        """Queue a job that is on record; if that fails, `_reconcile` repeats it."""
        if job.state.final:
            with suppress(LedgerUnavailable):
                await self.keep_files(job.owner, [result.key for result in job.results])
            await self._worker.announce_end(job)
            return
        changed(job)
        self._deadlines.watch(job)
        with suppress(LedgerUnavailable):
            await self._queue.add(job)
            if digest is not None:
                await self._ledger.remember_result(digest, job.id)

    async def check_room(self, owner: str) -> None:
        """Raise TooManyResults for an owner who has reached the limit of stored results."""
        await self._acceptance.check_room(owner)

    async def keep_files(self, owner: str, keys: Sequence[str]) -> None:
        """Count stored results as their owner's. Raises LedgerUnavailable."""
        await self._ledger.keep_files(owner, keys, self._settings.result_ttl)

    async def delete_file(self, key: str, caller: Caller) -> None:
        """Delete one of the caller's stored results. Raises NotStored when they have none of that name."""
        owner = await self._ledger.file_owner(key)
        if owner is None or not caller.sees(owner):
            raise NotStored
        await self._storage.delete([key])
        await self._ledger.forget_files(owner, [key])

    async def delete_results(self, job_id: str) -> Job:
        """Delete the files of a job that has ended. Raises UnknownJob, NotEnded and StorageUnavailable."""
        job = await self._ledger.get(job_id)
        if not job.state.final:
            raise NotEnded
        keys = [result.key for result in job.results]
        if kept := [*keys, *(job.inputs.values() if job.keeps_inputs else ())]:
            await self._storage.delete(kept)
        if keys:
            await self._ledger.forget_files(job.owner, keys)
        return await self._ledger.note(job_id, Job.without_results)

    async def delete(self, job_id: str) -> None:
        """Cancel a job, delete its files, and hide it for good. Raises UnknownJob and StorageUnavailable."""
        await self.cancel(job_id)
        await self.delete_results(job_id)
        await self._ledger.note(job_id, Job.removed)

    async def get(self, job_id: str) -> Job:
        """Return a job in its current state. Raises UnknownJob."""
        return await self._as_it_is(await self._ledger.get(job_id))

    async def _as_it_is(self, job: Job) -> Job:
        """Return a job with the progress from the bus, which is newer than the record's."""
        if job.state is JobState.PROCESSING and (latest := await self._bus.latest(job.id)):
            return job.advanced(latest["progress"], latest["message"])
        return job

    async def batch(self, batch_id: str) -> list[Job]:
        """Return the jobs of a batch in their current state. Raises UnknownJob when there are none."""
        jobs = await self._ledger.members(batch_id)
        if not jobs:
            raise UnknownJob(batch_id)
        return [await self._as_it_is(job) for job in jobs]

    async def page(
        self, state: JobState | None, before: datetime | None, limit: int, owner: str | None = None
    ) -> LedgerPage:
        """Return a page of jobs in their current state, newest first, of one owner or all."""
        page = await self._ledger.page(state, before, limit, owner)
        return replace(page, jobs=await asyncio.gather(*map(self._as_it_is, page.jobs)))

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, unless it has ended; return it. Raises UnknownJob."""
        ending = Ending(Job.cancelled)
        job = await self._ledger.change(job_id, ending)
        if job.state is JobState.CANCELLED:
            # Also if it was cancelled before: the process that runs it may not have noticed.
            with suppress(LedgerUnavailable):
                await self._queue.cancel(job)
        if ending.made(job):
            await self._worker.announce_end(job)
        return job

    async def prioritize(self, job_id: str, priority: Priority) -> Job:
        """Move a job of which nothing is drawn yet to another priority's line.

        Raises UnknownJob, NotWaiting and TooManyJobs.
        """
        (moved,) = await self.prioritize_all([await self.get(job_id)], priority)
        return moved

    async def prioritize_all(self, jobs: Sequence[Job], priority: Priority) -> list[Job]:
        """Move those jobs of which nothing is drawn yet to another priority's line; return them.

        Raises NotWaiting if there are none, and TooManyJobs, before any has moved, if the line has no room for all.
        """
        waiting = [job for job in jobs if job.waits]
        if further := sum(job.priority is not priority for job in waiting):
            await self._acceptance.check_line(priority, further)
        moved = [moved for job in waiting if (moved := await self._move(job, priority)) is not None]
        if moved:
            return moved
        raise NotWaiting

    async def _move(self, known: Job, priority: Priority) -> Job | None:
        """Move a job to the end of a priority's line, unless it is in that line; None if it no longer waits."""
        try:
            # Looked up again, since moving the jobs before it in a batch took a while.
            before = await self.get(known.id)
            if not before.waits:
                return None
            if before.priority is priority:
                return before
            job = await self._ledger.change(before.id, lambda job: job.prioritized(priority))
        except UnknownJob:
            return None
        if job.state.final:
            return None
        # If this fails, `_reconcile` queues the job, and its worker notices that its turn is over.
        with suppress(LedgerUnavailable):
            await self._queue.cancel(before)
            await self._queue.add(job)
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield a job's events, up to the one that ends it. Raises UnknownJob."""
        job = await self.get(job_id)
        if job.state.final:
            yield _event(job, str(job.state))
            return
        async with aclosing(self._events(job_id)) as events:
            async for event in events:
                yield event

    async def _events(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield all events on the bus; while it is silent, report the job's state from the record.

        Such a report is never ahead of events still to come, nor behind those already yielded.
        """
        events = self._bus.watch(job_id)
        upcoming = asyncio.ensure_future(anext(events))
        pause_s, progress = 0.0, 0
        try:
            while True:
                await asyncio.wait({upcoming}, timeout=pause_s)
                if upcoming.done():
                    event, pause_s = upcoming.result(), LOOK_AGAIN_S
                    upcoming = asyncio.ensure_future(anext(events))
                else:
                    present = await self._present(await self._ledger.get(job_id))
                    event = present | {"progress": max(progress, present["progress"])}
                    pause_s = POSITION_S if event["event"] == "queued" else LOOK_AGAIN_S
                yield event
                progress = event["progress"]
                if event["event"] in FINAL_EVENTS:
                    return
        finally:
            await end((upcoming,))

    async def position(self, job: Job) -> int | None:
        """Return a pending job's place in line, 1 being next, and None for others."""
        return 1 + await self._ledger.ahead_of(job) if job.state is JobState.PENDING else None

    async def _present(self, job: Job) -> dict[str, Any]:
        position = await self.position(job)
        name = "queued" if position is not None else str(job.state)
        return _event(job, name) | ({} if position is None else {"position": position})

    async def is_reachable(self) -> bool:
        """Whether records can be read and written."""
        return await self._ledger.is_reachable()

    async def _after(self, job: Job) -> None:
        if job.unnotified:
            await self._queue.add_webhook(job, 1)

    async def _notify(self, job_id: str, attempt: int) -> None:
        pause = await self._sender.attempt(job_id, attempt)
        if pause is not None:
            await self._queue.add_webhook(await self._ledger.get(job_id), attempt + 1, pause)

    async def _give_up(self, job_id: str) -> None:
        """End a job that has waited until its deadline; if that fails, `_reconcile` tries again."""
        with suppress(LedgerUnavailable, UnknownJob):
            job = await self._worker.give_up_waiting(job_id)
            if job.state.final:
                await self._queue.cancel(job)

    async def _reconcile(self) -> None:
        """Queue every accepted job that is not queued, after a crash in between or the loss of an in-memory queue."""
        async for job in self._ledger.unfinished():
            self._deadlines.watch(job)
            await self._queue.add(job)
        async for job in self._ledger.unnotified():
            await self._queue.add_webhook(job, len(job.deliveries) + 1)

    async def _sweep(self) -> None:
        await self._ledger.sweep()
        if self._settings.result_ttl is not None and self._storage.is_local:
            await self._storage.sweep(RESULTS, self._settings.result_ttl)
            await self._storage.sweep(INPUTS, self._settings.result_ttl)

    async def _regularly(self, pause_s: float, chore: Callable[[], Awaitable[None]]) -> None:
        while True:
            await asyncio.sleep(pause_s)
            try:
                await chore()
            except JubakoError as error:
                log.warning("%s; again in %g s", error, pause_s)
            # One error must not stop a chore for good.
            except Exception:
                log.exception("a chore of the job desk failed; again in %g s", pause_s)


def _event(job: Job, name: str) -> dict[str, Any]:
    return {"event": name, "progress": job.progress, "message": job.message, "error": job.error}
