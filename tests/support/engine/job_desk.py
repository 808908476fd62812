"""A desk of its own for tests: real ledger, bus, queue and storage, and an engine with a tiny model that draws."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from core.caller import Caller
from core.generation import events
from core.generation.request import GenerationRequest
from jobs.bus import LocalBus, RedisBus
from jobs.desk.desk import JobDesk
from jobs.desk.order import Order
from jobs.desk.settings import DeskSettings
from jobs.generation import GenerationJobs
from jobs.job import GENERATION, Job
from jobs.ledger.redis import RedisLedger
from jobs.ledger.sqlite import SqliteLedger
from jobs.queue import MEMORY, QueueSettings
from jobs.webhooks.sender import WebhookSender
from runners.engine.engine import Engine
from settings import Settings
from storage.client import Storage, open_storage
from tests.support.engine.drawing import request

HOUR = timedelta(hours=1)
SECRET = "a secret of the tests"


class EngineProducer:
    """Draws in this process, where the real one asks a runner."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def draw(self, wanted: GenerationRequest) -> AsyncGenerator[events.Event, None]:
        async with aclosing(self._engine.submit(wanted).events()) as emitted:
            async for event in emitted:
                if isinstance(event, events.Failed):
                    raise event.error
                yield event


@asynccontextmanager
async def job_desk(
    producer: Any, folder: Path, redis_url: str | None = None, storage: Storage | None = None, **changes: Any
) -> AsyncIterator[JobDesk]:
    """Open a desk on files in `folder`, or on a Redis; another one may follow on the same."""
    settings: dict[str, Any] = {
        "queue": QueueSettings(redis_url or f"{MEMORY}{uuid.uuid4()}", concurrency=8, redelivery=timedelta(seconds=2)),
        "max_waiting": 100,
        "max_per_caller": 100,
        "max_results_per_owner": 100,
        "max_runners_lost": 3,
        "reuse_results": True,
        "result_ttl": None,
        "webhook_secret": SECRET,
        "allow_private_webhooks": True,
    } | changes
    pause = settings.pop("webhook_pause", timedelta(milliseconds=50))
    wanted = DeskSettings(**settings)
    ledger = RedisLedger(redis_url, HOUR) if redis_url else SqliteLedger(folder / "jobs.sqlite", HOUR)
    bus = RedisBus(redis_url, HOUR) if redis_url else LocalBus(HOUR)
    sender = WebhookSender(ledger, SECRET, wanted.allow_private_webhooks, pause, _told)
    storage = storage or open_storage(Settings(storage=f"file://{folder / 'files'}"))
    kinds = {GENERATION: GenerationJobs(producer.draw)}
    desk = JobDesk(wanted, ledger, bus, storage, kinds, sender, lambda job: Caller(job.caller))
    await desk.open()
    try:
        yield desk
    finally:
        await desk.close()


async def _told(job: Job) -> Mapping[str, Any]:
    return {"session_id": job.id, "status": job.state, "error": job.error}


def order(wanted: GenerationRequest | None = None, **changes: Any) -> Order:
    return Order(wanted or request(progress=True), "png", caller="me", **changes)


async def finished(desk: JobDesk, job: Job, timeout_s: float = 60.0) -> Job:
    """Wait for the end of a job, by watching it."""
    async with asyncio.timeout(timeout_s), aclosing(desk.watch(job.id)) as emitted:
        async for _ in emitted:
            pass
    return await desk.get(job.id)
