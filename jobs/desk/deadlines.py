"""Ends jobs whose deadlines pass while they wait in line, which queues do not watch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from core.asyncio_tasks import end
from jobs.job import Job, JobState

SOON_S = 60.0
"""Later deadlines are left for the next check of all waiting jobs."""


class Deadlines:
    """Deadlines of the jobs in line; lives on one event loop."""

    def __init__(self, on_passed: Callable[[str], Awaitable[None]]) -> None:
        """`on_passed` ends a job, by its id, if it still waits."""
        self._on_passed = on_passed
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._passing: set[asyncio.Task[None]] = set()

    def watch(self, job: Job) -> None:
        """See to it that a waiting job is ended at its deadline."""
        left_s = job.deadline.left_s
        if job.state is JobState.PENDING and left_s < SOON_S and job.id not in self._timers:
            self._timers[job.id] = asyncio.get_running_loop().call_later(left_s, self._pass, job.id)

    async def close(self) -> None:
        """Leave the jobs to the next process."""
        for timer in self._timers.values():
            timer.cancel()
        await end(self._passing)

    def _pass(self, job_id: str) -> None:
        del self._timers[job_id]
        task = asyncio.ensure_future(self._on_passed(job_id))
        self._passing.add(task)
        task.add_done_callback(self._passing.discard)
