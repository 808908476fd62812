"""The jobs of one gateway process: takes them in, has them done, and answers questions about any of them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, suppress
from datetime import datetime, timedelta
from typing import Any

from core.errors import InvalidRequest, JubakoError
from core.tasks import end
from jobs.bus import Bus, JobEvent
from jobs.desk_settings import DeskSettings
from jobs.errors import LedgerUnavailable, TooManyJobs, UnknownJob
from jobs.inputs import content_digest, plain_fields, store_inputs
from jobs.job import Ending, Job, JobState
from jobs.kinds import Kinds
from jobs.ledger.ledger import Ledger, Page
from jobs.order import Order
from jobs.queue import JobQueue
from jobs.telemetry import changed, measure_queue
from jobs.webhooks import WebhookSender, check_webhook_url
from jobs.worker import Worker
from storage.client import Storage
from storage.errors import StorageUnavailable
from storage.keys import INPUTS, RESULTS

log = logging.getLogger("jubako.jobs")

RECONCILE_S = 30.0
"""How often what is accepted is compared with what is queued: a job between the two is found after that time."""
MEASURE_S = 5.0
SWEEP = timedelta(minutes=10)
FINAL_EVENTS = frozenset(str(state) for state in JobState if state.final)
RETRY_LATER_S = 10
SILENCE_S = 15.0
"""Watchers get an event at least so often: an end may be lost in a crash, and proxies close silent streams."""
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
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._bus = bus
        self._storage = storage
        self._sender = sender
        self._worker = Worker(ledger, bus, storage, kinds, settings.max_runners_lost, self._after)
        self._queue = JobQueue(settings.queue, self._worker.run, self._notify)
        self._chores: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect to everything, take up what was left unfinished, and begin to work.

        Redis may still be on its way: all else goes on meanwhile.
        """
        await self._ledger.open()
        await self._queue.open()
        try:
            await self._reconcile()
        except LedgerUnavailable as error:
            log.warning("%s; jobs are taken up once it does", error)
        self._chores = [
            asyncio.create_task(self._regularly(RECONCILE_S, self._reconcile)),
            asyncio.create_task(self._regularly(MEASURE_S, lambda: measure_queue(self._ledger))),
            asyncio.create_task(self._regularly(SWEEP.total_seconds(), self._sweep)),
        ]

    async def finished(self) -> None:
        """Take no new jobs from now on, and return once none is in hand."""
        await self._queue.finished()

    async def close(self) -> None:
        """Stop working; nothing that was accepted is lost by it."""
        await end(self._chores)
        await self._queue.close()
        await self._bus.close()
        await self._ledger.close()

    async def submit(self, order: Order) -> Job:
        """Accept an order: once this returns, the job is on record.

        Raises TooManyJobs, InvalidRequest for a webhook, StorageUnavailable and LedgerUnavailable.
        """
        if order.idempotency_key is not None:
            earlier = await self._ledger.by_key(order.caller, order.idempotency_key)
            if earlier is not None:
                return earlier
        await self._check(order)
        digest = await self._digest(order)
        job = await self._earlier_results(order, digest) or await self._new_job(order)
        kept = await self._recorded(job, order)
        if kept.id != job.id:
            return kept
        if job.state.final:
            await self._worker.announce_end(job)
            return job
        changed(job)
        # It is on record now; what fails from here on is made up for by `_reconcile`.
        with suppress(LedgerUnavailable):
            await self._queue.add(job)
            if digest is not None:
                await self._ledger.remember_result(digest, job.id)
        return job

    async def _recorded(self, job: Job, order: Order) -> Job:
        """Write the record; unless that is what is kept, its stored inputs go."""
        kept = None
        try:
            kept = await self._ledger.add(job, order.idempotency_key)
        finally:
            if job.inputs and (kept is None or kept.id != job.id):
                with suppress(StorageUnavailable):
                    await self._storage.delete(list(job.inputs.values()))
        return kept

    async def _digest(self, order: Order) -> str | None:
        """What equal requests have in common, for those that may share results."""
        if not (order.repeatable and self._settings.reuse_results):
            return None
        return await asyncio.to_thread(content_digest, order.request, order.output_format, order.quality)

    async def get(self, job_id: str) -> Job:
        """Return a job, as far as it is at this moment. Raises UnknownJob."""
        return await self._as_it_is(await self._ledger.get(job_id))

    async def _as_it_is(self, job: Job) -> Job:
        """What is between two changes of the record, the bus knows."""
        if job.state is JobState.PROCESSING and (latest := await self._bus.latest(job.id)):
            return job.advanced(latest["progress"], latest["message"])
        return job

    async def batch(self, batch_id: str) -> list[Job]:
        """Return the jobs of a batch, as far as they are. Raises UnknownJob when there are none."""
        jobs = await self._ledger.members(batch_id)
        if not jobs:
            raise UnknownJob(batch_id)
        return [await self._as_it_is(job) for job in jobs]

    async def page(self, state: JobState | None, before: datetime | None, limit: int) -> Page:
        """Return a page of jobs, newest first."""
        return await self._ledger.page(state, before, limit)

    async def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; one that has stays as it is, which the answer shows. Raises UnknownJob."""
        ending = Ending(Job.cancelled)
        job = await self._ledger.change(job_id, ending)
        if job.state is JobState.CANCELLED:
            # Again for one that was cancelled before: the process that runs it may not know.
            with suppress(LedgerUnavailable):
                await self._queue.cancel(job)
        if ending.made(job):
            await self._worker.announce_end(job)
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield a job's events, down to the one that ends it. Raises UnknownJob."""
        job = await self.get(job_id)
        if job.state.final:
            yield _event(job, str(job.state))
            return
        async with aclosing(self._events(job_id)) as events:
            async for event in events:
                yield event

    async def _events(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield what the bus has; while it is silent, report how the job is."""
        events = self._bus.watch(job_id)
        upcoming = asyncio.ensure_future(anext(events))
        pause_s = 0.0
        try:
            while True:
                await asyncio.wait({upcoming}, timeout=pause_s)
                if upcoming.done():
                    event, pause_s = upcoming.result(), SILENCE_S
                    upcoming = asyncio.ensure_future(anext(events))
                else:
                    event = await self._present(await self.get(job_id))
                    pause_s = POSITION_S if event["event"] == "queued" else SILENCE_S
                yield event
                if event["event"] in FINAL_EVENTS:
                    return
        finally:
            await end((upcoming,))

    async def position(self, job: Job) -> int | None:
        """Return a pending job's place in line, 1 being next, and None for others."""
        return 1 + await self._ledger.ahead_of(job) if job.state is JobState.PENDING else None

    async def _present(self, job: Job) -> JobEvent:
        position = await self.position(job)
        name = "queued" if position is not None else str(job.state)
        return _event(job, name) | ({} if position is None else {"position": position})

    async def is_reachable(self) -> bool:
        """Whether records can be read and written."""
        return await self._ledger.is_reachable()

    async def _check(self, order: Order) -> None:
        if order.webhook_url is not None:
            if self._settings.webhook_secret is None:
                raise InvalidRequest("webhook_url", "webhooks are off: the operator has set no JUBAKO_WEBHOOK_SECRET")
            await check_webhook_url(order.webhook_url, self._settings.allow_private_webhooks)
        priority = order.request.priority
        if await self._ledger.waiting(priority) >= self._settings.max_waiting:
            raise TooManyJobs(
                f"{self._settings.max_waiting} jobs of {priority.name.lower()} priority are waiting", RETRY_LATER_S
            )
        if await self._ledger.open_for(order.caller) >= self._settings.max_per_caller:
            raise TooManyJobs(f"you have {self._settings.max_per_caller} jobs that have not ended", RETRY_LATER_S)

    async def _earlier_results(self, order: Order, digest: str | None) -> Job | None:
        earlier = None if digest is None else await self._ledger.recall_result(digest)
        if earlier is None or not await self._are_stored(earlier):
            return None
        return self._blank_job(order).completed(earlier.results).changed(message="An equal request was done before")

    async def _are_stored(self, job: Job) -> bool:
        return all([await self._storage.exists(result.key) for result in job.results])

    async def _new_job(self, order: Order) -> Job:
        job = self._blank_job(order)
        return job.changed(inputs=await store_inputs(order.request, job.id, self._storage))

    def _blank_job(self, order: Order) -> Job:
        return Job(
            kind=order.kind,
            request=plain_fields(order.request),
            output_format=order.output_format,
            quality=order.quality,
            priority=order.request.priority,
            caller=order.caller,
            base_url=order.base_url,
            webhook_url=order.webhook_url,
            batch_id=order.batch_id,
        )

    async def _after(self, job: Job) -> None:
        if job.unnotified:
            await self._queue.add_webhook(job, 1)

    async def _notify(self, job_id: str, attempt: int) -> None:
        pause = await self._sender.attempt(job_id, attempt)
        if pause is not None:
            await self._queue.add_webhook(await self._ledger.get(job_id), attempt + 1, pause)

    async def _reconcile(self) -> None:
        """Queue whatever is accepted and not queued: after a crash between the two, or of an in-memory queue."""
        async for job in self._ledger.unfinished():
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
            # One chore's mistake must not be its last.
            except Exception:
                log.exception("a chore of the job desk failed; again in %g s", pause_s)


def _event(job: Job, name: str) -> dict[str, Any]:
    return {"event": name, "progress": job.progress, "message": job.message, "error": job.error}
