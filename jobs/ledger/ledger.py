"""Where job records are kept, so that they outlive every process: the contract of a ledger."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from core.generation.request import Priority
from jobs.job import Job, JobState

JobTransition = Callable[[Job], Job]


@dataclass(frozen=True)
class LedgerPage:
    """Jobs, newest first. `next_before` continues the list; None at its end."""

    jobs: list[Job]
    next_before: datetime | None


class Ledger(Protocol):
    """Every method raises LedgerUnavailable when the records cannot be reached."""

    async def open(self) -> None:
        """Connect, and create what is missing."""

    async def close(self) -> None: ...

    async def add(self, job: Job, idempotency_key: str | None = None) -> Job:
        """Keep a new job and return it; or return the earlier job if its owner used the key before."""

    async def add_all(self, jobs: Sequence[Job], idempotency_key: str | None = None) -> Job:
        """Keep new jobs, all or none, and return the first; or the first earlier job if the key was used before."""

    async def by_key(self, owner: str, idempotency_key: str) -> Job | None:
        """Return the job that an owner submitted with this key before; if several, the first."""

    async def get(self, job_id: str) -> Job:
        """Return a job. Raises UnknownJob when there is none, or its record has expired."""

    async def change(self, job_id: str, change: JobTransition) -> Job:
        """Apply `change` to a job that is not final, atomically; return the job that is kept then.

        A final job is returned unchanged. `change` may be called again when another process was faster. Raises
        UnknownJob.
        """

    async def note(self, job_id: str, change: JobTransition) -> Job:
        """Apply a change that is also allowed to a final job, such as a webhook delivery. Raises UnknownJob."""

    async def page(
        self, state: JobState | None, before: datetime | None, limit: int, owner: str | None = None
    ) -> LedgerPage:
        """Return a page of jobs, newest first, of one state or all, of one owner or all."""

    def unfinished(self) -> AsyncIterator[Job]:
        """Yield all jobs that are not final, in the order of their lines."""

    def unnotified(self) -> AsyncIterator[Job]:
        """Yield ended jobs whose webhook has not been notified."""

    async def members(self, batch_id: str) -> list[Job]:
        """Return the jobs of a batch, in the order of their creation."""

    async def waiting(self, priority: Priority) -> int:
        """Count the pending jobs of a class."""

    async def ahead_of(self, job: Job) -> int:
        """Count the pending jobs ahead of a job: those longer in its line, and all of higher priority."""

    async def oldest(self) -> datetime | None:
        """Return when the oldest job that is not final was created."""

    async def open_for(self, caller: str) -> int:
        """Count the caller's jobs that are not final."""

    async def remember_result(self, digest: str, job_id: str) -> None:
        """Let requests of this digest be answered with the job's results, as long as its record lives."""

    async def recall_result(self, digest: str) -> Job | None:
        """Return the completed job of this digest, if there is one."""

    async def keep_files(self, owner: str, keys: Sequence[str], ttl: timedelta | None) -> None:
        """Count stored results as their owner's until they expire; if `ttl` is None, they never do."""

    async def file_owner(self, key: str) -> str | None:
        """Return the owner of a result."""

    async def forget_files(self, owner: str, keys: Sequence[str]) -> None:
        """Stop counting results that were deleted."""

    async def count_files(self, owner: str) -> int:
        """Count an owner's stored results."""

    async def sweep(self) -> int:
        """Delete expired records; return how many."""

    async def is_reachable(self) -> bool: ...
