"""Which process runs which job, and when: docket's queues, one for each class of priority, over Redis or in memory.

Every gateway process takes jobs from all queues at once, so a backlog of one priority does not hold up the others; the
engines choose among the jobs that were taken. A job is queued under its own id, so adding it twice has no effect. A job
that moves to another priority may be taken from its old queue at that moment; the worker then drops it (`jobs.worker`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from redis.exceptions import RedisError

from core.asyncio_tasks import end
from core.generation.request import Priority
from jobs.job import Job
from jobs.redis_connection import reachable
from processes.in_hand import InHand

log = logging.getLogger("jubako.jobs")

MEMORY = "memory://"
RESTART_S = 1.0
_RECORD_TTL = timedelta(minutes=5)
_JOBS_DUE, _WEBHOOKS_DUE = timedelta(minutes=1), timedelta(milliseconds=250)
"""How often docket looks for tasks that were scheduled for later: only webhooks are, and each look runs a script."""


@dataclass(frozen=True)
class QueueSettings:
    url: str
    concurrency: int
    """How many jobs of one priority a process has in hand: generating, or waiting for a place in an engine."""
    redelivery: timedelta
    """How long a worker may be silent before its jobs are given to others."""


class JobQueue:
    """`run` does a job, given its id and the priority of its queue; `notify` makes one attempt, of the given number, to
    notify a job's webhook.
    """

    def __init__(
        self,
        settings: QueueSettings,
        run: Callable[[str, Priority], Awaitable[None]],
        notify: Callable[[str, int], Awaitable[None]],
    ) -> None:
        self._jobs_by_priority = {p: _Queue(f"jubako-{p.name.lower()}", settings, _JOBS_DUE) for p in Priority}
        self._webhooks = _Queue("jubako-webhooks", settings, _WEBHOOKS_DUE)
        self._queues = (*self._jobs_by_priority.values(), self._webhooks)
        self._run, self._notify = run, notify
        self._in_hand = InHand()
        self._jobs: set[tuple[str, Priority]] = set()
        """Ids of jobs in hand, with the priorities of the queues that they came from."""
        self._stack = AsyncExitStack()
        self._working: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Connect and start to take jobs."""
        for queue, task in (
            *((queue, self._job_task(priority)) for priority, queue in self._jobs_by_priority.items()),
            (self._webhooks, self._webhook_task()),
        ):
            await queue.open(self._stack, task)
            self._working.append(asyncio.create_task(queue.work()))

    async def finished(self) -> None:
        """Stop taking jobs, and return once none is in hand."""
        for queue in self._queues:
            queue.take_no_more()
        await self._in_hand.finished()

    async def close(self) -> None:
        """Stop taking jobs; those in hand go back to their queues, for the next worker."""
        for queue in self._queues:
            queue.closing = True
        unfinished = set(self._jobs)
        # Otherwise docket would wait for the jobs in hand, perhaps for minutes.
        await end((*self._in_hand.tasks, *self._working))
        with suppress(RedisError):
            for job_id, priority in unfinished:
                await self._jobs_by_priority[priority].docket.replace("run_job", datetime.now(UTC), job_id)(job_id)
            await self._stack.aclose()

    async def add(self, job: Job) -> None:
        """Queue a job, unless it is queued or being done already."""
        with reachable():
            await self._jobs_by_priority[job.priority].add("run_job", job.id, job.id)

    async def add_webhook(self, job: Job, attempt: int, delay: timedelta = timedelta(0)) -> None:
        """Queue one attempt to notify a job's webhook."""
        when = datetime.now(UTC) + delay
        with reachable():
            await self._webhooks.add("tell_webhook", f"{job.id}-webhook-{attempt}", job.id, attempt, when=when)

    async def cancel(self, job: Job) -> None:
        """Take a job out of its queue, or interrupt the worker that runs it."""
        with reachable():
            await self._jobs_by_priority[job.priority].docket.cancel(job.id)

    # Docket knows tasks by their names and reads their signatures.

    def _job_task(self, priority: Priority) -> Callable[..., Awaitable[None]]:
        async def run_job(job_id: str) -> None:
            with self._held():
                self._jobs.add((job_id, priority))
                try:
                    await self._run(job_id, priority)
                finally:
                    self._jobs.discard((job_id, priority))

        return run_job

    def _webhook_task(self) -> Callable[..., Awaitable[None]]:
        async def tell_webhook(job_id: str, attempt: int) -> None:
            with self._held():
                await self._notify(job_id, attempt)

        return tell_webhook

    @contextmanager
    def _held(self) -> Iterator[None]:
        """Let no error but cancellation out: docket would store it, and may fail over it."""
        with self._in_hand.holding():
            try:
                yield
            except Exception:
                log.exception("a task of the queue failed; its job is looked at again soon")


class _Queue:
    """One of docket's queues, and this process's worker for it."""

    def __init__(self, name: str, settings: QueueSettings, looks_every: timedelta) -> None:
        # All processes of a server import this module, and only gateways should spend half a second on docket.
        from docket import Docket, Worker

        self.docket = Docket(name, settings.url, execution_ttl=_RECORD_TTL)
        self._worker = Worker(
            self.docket,
            concurrency=settings.concurrency,
            redelivery_timeout=settings.redelivery,
            scheduling_resolution=looks_every,
        )
        # Only this process adds tasks to a queue in memory, so its worker can wait for one. Four workers that ask wake
        # up 400 times a second, each time at the expense of a pass on the same cores.
        self._asks = not settings.url.startswith(MEMORY)
        self._added = asyncio.Event()
        self.closing = False

    async def open(self, stack: AsyncExitStack, task: Callable[..., Awaitable[None]]) -> None:
        """Connect until `stack` ends, for tasks of one kind."""
        await stack.enter_async_context(self.docket)
        self.docket.register(task)
        await stack.enter_async_context(self._worker)

    async def add(self, task: str, key: str, *arguments: str | int, when: datetime | None = None) -> None:
        """Add a task, unless one with this key is there."""
        await self.docket.add(task, when=when, key=key)(*arguments)
        self._added.set()

    async def work(self) -> None:
        """Do tasks. Restarts the worker whatever has ended it: without one, all of its tasks would wait for ever."""
        # Docket returns normally when it is cancelled.
        while not self.closing:
            try:
                await self._work()
            except Exception:
                log.exception("a worker of the queue ended; it begins again")
                await asyncio.sleep(RESTART_S)
                self._added.set()

    async def _work(self) -> None:
        if self._asks:
            await self._worker.run_forever()
        else:
            await self._added.wait()
            self._added.clear()
            await self._worker.run_until_finished()

    def take_no_more(self) -> None:
        # Not cancelled: then it would stop renewing its jobs' leases in Redis, and others would get them.
        self._worker.concurrency = 0
