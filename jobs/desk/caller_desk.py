"""The job desk for one caller of one contract, who finds only their own jobs; an admin finds all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from datetime import datetime

from core.caller import Caller
from core.generation.request import Priority
from jobs.bus import JobEvent
from jobs.desk.desk import JobDesk
from jobs.desk.order import Order
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.job import Job, JobState
from jobs.ledger.ledger import LedgerPage

Shows = Callable[[Job], bool]
"""Whether a contract shows a job at all; other jobs cannot be found at its addresses."""


@dataclass(frozen=True)
class CallerDesk:
    desk: JobDesk
    caller: Caller
    shows: Shows | None = None
    """Default: all."""

    async def earlier(self, idempotency_key: str | None, fingerprint: str | None) -> list[Job]:
        """Return the jobs that the caller submitted with this key before; empty for a new key. Raises KeyReused."""
        return await self.desk.earlier(self.caller.owner, idempotency_key, fingerprint)

    async def submit(self, *orders: Order) -> list[Job]:
        """Accept orders as the caller's, all or none. Raises what `JobDesk.submit_all` raises."""
        own = [replace(order, caller=self.caller.name, owner=self.caller.owner) for order in orders]
        return await self.desk.submit_all(own)

    async def get(self, job_id: str) -> Job:
        """Return a job in its current state. Raises UnknownJob."""
        job = await self.desk.get(job_id)
        if not self._finds(job):
            raise UnknownJob(job_id)
        return job

    async def batch(self, batch_id: str) -> list[Job]:
        """Return the jobs of a batch. Raises UnknownJob when there are none."""
        jobs = [job for job in await self.desk.batch(batch_id) if self._finds(job)]
        if not jobs:
            raise UnknownJob(batch_id)
        return jobs

    async def page(self, state: JobState | None, before: datetime | None, limit: int) -> LedgerPage:
        """Return a page of jobs, newest first."""
        page = await self.desk.page(state, before, limit, None if self.caller.admin else self.caller.owner)
        return replace(page, jobs=[job for job in page.jobs if self._finds(job)])

    async def cancel(self, job_id: str) -> Job:
        """Cancel a job, unless it has ended. Raises UnknownJob."""
        await self.get(job_id)
        return await self.desk.cancel(job_id)

    async def prioritize(self, job_id: str, priority: Priority) -> Job:
        """Move a job of which nothing is drawn yet to another priority's line.

        Raises Forbidden for a priority that the caller may not have, UnknownJob, NotWaiting and TooManyJobs.
        """
        self.caller.check_priority(priority)
        await self.get(job_id)
        return await self.desk.prioritize(job_id, priority)

    async def prioritize_batch(self, batch_id: str, priority: Priority) -> None:
        """Move those jobs of a batch of which nothing is drawn yet, all or none. Raises what `prioritize` raises."""
        self.caller.check_priority(priority)
        await self.desk.prioritize_all(await self.batch(batch_id), priority)

    async def delete_results(self, job_id: str) -> Job:
        """Delete the files of a job that has ended. Raises UnknownJob, NotEnded and StorageUnavailable."""
        await self.get(job_id)
        return await self.desk.delete_results(job_id)

    async def delete(self, job_id: str) -> None:
        """Cancel a job, delete its files, and hide it for good. Raises UnknownJob and StorageUnavailable."""
        await self.get(job_id)
        await self.desk.delete(job_id)

    async def watch(self, job_id: str) -> AsyncGenerator[JobEvent, None]:
        """Yield a job's events, up to the one that ends it. Raises UnknownJob."""
        await self.get(job_id)
        async with aclosing(self.desk.watch(job_id)) as events:
            async for event in events:
                yield event

    async def position(self, job: Job) -> int | None:
        """Return a pending job's place in line, 1 being next, and None for others."""
        return await self.desk.position(job)

    async def check_room(self) -> None:
        """Raise TooManyResults when the caller has reached the limit of results; passes while the ledger is away."""
        with suppress(LedgerUnavailable):
            await self.desk.check_room(self.caller.owner)

    async def keep_files(self, keys: Sequence[str]) -> None:
        """Count stored results without a job as the caller's."""
        with suppress(LedgerUnavailable):
            await self.desk.keep_files(self.caller.owner, keys)

    async def delete_file(self, key: str) -> None:
        """Delete one stored result. Raises NotStored when the caller has none of that name."""
        await self.desk.delete_file(key, self.caller)

    def _finds(self, job: Job) -> bool:
        shown = self.shows is None or self.shows(job)
        return shown and self.caller.sees(job.owner) and not job.deleted
