"""The queue in memory, whose workers run only while there is something to do."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from docket import Worker

from core.generation.request import Priority
from jobs.job import Job
from jobs.queue import MEMORY, JobQueue, QueueSettings
from tests.support.engine.hosts import until

LIMIT_S = 20


class Taken:
    """What a queue hands over."""

    def __init__(self) -> None:
        self.jobs: asyncio.Queue[tuple[str, Priority]] = asyncio.Queue()
        self.attempts: asyncio.Queue[tuple[str, int]] = asyncio.Queue()

    async def run(self, job_id: str, priority: Priority) -> None:
        await self.jobs.put((job_id, priority))

    async def notify(self, job_id: str, attempt: int) -> None:
        await self.attempts.put((job_id, attempt))


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
async def queue(taken: Taken) -> AsyncIterator[JobQueue]:
    settings = QueueSettings(f"{MEMORY}{uuid.uuid4()}", concurrency=2, redelivery=timedelta(seconds=2))
    queue = JobQueue(settings, taken.run, taken.notify)
    await queue.open()
    async with asyncio.timeout(LIMIT_S):
        yield queue
    await queue.close()


def job() -> Job:
    return Job(request={}, output_format="png")


def asking() -> bool:
    """Whether a worker of docket asks for tasks, and for their cancellation."""
    return any(task.get_name().endswith("cancellation listener") for task in asyncio.all_tasks())


async def nobody_asks() -> None:
    await until(lambda: not asking())


async def test_an_empty_queue_asks_for_nothing(queue: JobQueue) -> None:
    # Long enough for workers to begin.
    await asyncio.sleep(0.1)
    assert not asking()


async def test_a_worker_rests_between_jobs(queue: JobQueue, taken: Taken) -> None:
    for _ in range(2):
        one = job()
        await queue.add(one)
        assert await taken.jobs.get() == (one.id, Priority.NORMAL)
        assert asking()
        await nobody_asks()


async def test_a_webhook_due_later_keeps_its_worker_asking(queue: JobQueue, taken: Taken) -> None:
    one = job()
    await queue.add_webhook(one, 1, timedelta(seconds=0.6))
    await until(asking)
    assert taken.attempts.empty()
    assert await taken.attempts.get() == (one.id, 1)
    await nobody_asks()


async def test_a_burst_is_done_to_the_last(queue: JobQueue, taken: Taken) -> None:
    burst = [job() for _ in range(9)]
    await asyncio.gather(*map(queue.add, burst))
    assert {(await taken.jobs.get())[0] for _ in burst} == {each.id for each in burst}


async def test_a_drain_that_begins_before_the_queues_are_open_ends(taken: Taken) -> None:
    settings = QueueSettings(f"{MEMORY}{uuid.uuid4()}", concurrency=2, redelivery=timedelta(seconds=2))
    await JobQueue(settings, taken.run, taken.notify).finished()


async def test_a_worker_that_fails_begins_again(queue: JobQueue, taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.queue.RESTART_S", 0.01)
    until_finished = Worker.run_until_finished

    async def fails_once(worker: Worker) -> None:
        monkeypatch.setattr(Worker, "run_until_finished", until_finished)
        raise RuntimeError("a fault of docket's")

    monkeypatch.setattr(Worker, "run_until_finished", fails_once)
    one = job()
    await queue.add(one)
    assert await taken.jobs.get() == (one.id, Priority.NORMAL)
