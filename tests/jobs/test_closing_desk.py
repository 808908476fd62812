"""A desk that closes, in one process: what it has in hand, and what comes in meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from jobs.desk.desk import JobDesk
from jobs.job import Job, JobState
from jobs.queue import QueueSettings
from runners.engine.engine import Engine
from tests.support.engine.drawing import request
from tests.support.engine.job_desk import EngineProducer, finished, job_desk, order
from tests.support.surroundings.redis_server import RedisServer, redis_server


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


async def begun(desk: JobDesk, job: Job) -> None:
    """Wait for a job's first step."""
    async with asyncio.timeout(60), aclosing(desk.watch(job.id)) as emitted:
        async for event in emitted:
            if event["event"] == "step":
                return


async def test_a_job_in_hand_of_a_desk_that_closes_is_anothers_at_once(
    engine: Engine, tmp_path: Path, redis: RedisServer
) -> None:
    # By itself, Redis would give it to another only after this time.
    queue = QueueSettings(redis.url, concurrency=8, redelivery=timedelta(hours=1))
    async with job_desk(EngineProducer(engine), tmp_path, redis.url, queue=queue) as desk:
        job = await desk.submit(order(request(num_inference_steps=60, progress=True)))
        await begun(desk, job)
    async with job_desk(EngineProducer(engine), tmp_path, redis.url, queue=queue) as desk:
        done = await finished(desk, job)
    assert (done.state, done.attempts) == (JobState.COMPLETED, 2)


async def test_a_desk_that_finishes_takes_nothing_new(engine: Engine, tmp_path: Path) -> None:
    async with job_desk(EngineProducer(engine), tmp_path) as desk:
        long = await desk.submit(order(request(num_inference_steps=120, progress=True)))
        await begun(desk, long)
        finishing = asyncio.create_task(desk.finished())
        # A read of the queue that had begun may still bring one.
        await asyncio.sleep(0.5)
        new = await desk.submit(order(request()))
        await finishing
        assert (await desk.get(long.id)).state is JobState.COMPLETED
        assert (await desk.get(new.id)).state is JobState.PENDING
