"""Both buses: who watches a job sees everything that is kept, in order, and then what comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from datetime import timedelta
from typing import Any, cast

import pytest

from jobs.bus import KEPT_EVENTS, Bus, JobEvent, LocalBus, RedisBus
from jobs.redis_connection import MAX_CONNECTIONS, connect
from tests.support.surroundings.redis_server import RedisServer


@pytest.fixture(params=["local", "redis"])
async def bus(request: pytest.FixtureRequest, redis: RedisServer) -> AsyncIterator[Bus]:
    hour = timedelta(hours=1)
    bus: Bus = RedisBus(redis.url, hour) if request.param == "redis" else LocalBus(hour)
    yield bus
    await bus.close()


async def first(bus: Bus, job_id: str, count: int) -> list[JobEvent]:
    async with asyncio.timeout(20), aclosing(cast(Any, bus.watch(job_id))) as events:
        return [await anext(events) for _ in range(count)]


def step(number: int) -> JobEvent:
    return {"event": "step", "step": number}


async def test_a_late_watcher_sees_what_was(bus: Bus) -> None:
    for number in range(3):
        await bus.publish("late", step(number))
    assert await first(bus, "late", 3) == [step(0), step(1), step(2)]


async def test_watchers_see_what_comes(bus: Bus) -> None:
    await bus.publish("live", step(0))
    watching = [asyncio.ensure_future(first(bus, "live", 4)) for _ in range(3)]
    for number in range(1, 4):
        await asyncio.sleep(0)
        await bus.publish("live", step(number))
    assert await asyncio.gather(*watching) == [[step(n) for n in range(4)]] * 3


async def test_silence_ends_no_watching(bus: Bus) -> None:
    watching = asyncio.ensure_future(first(bus, "silent", 1))
    # Longer than a connection to Redis waits for an answer.
    await asyncio.sleep(6)
    await bus.publish("silent", step(1))
    assert await watching == [step(1)]


async def test_neither_stalls_nor_watchers_leave_connections_behind(redis: RedisServer) -> None:
    bus = RedisBus(redis.url, timedelta(hours=1))
    async with aclosing(connect(redis.url)) as observer:

        async def connected() -> int:
            return int((await observer.info("clients"))["connected_clients"])

        before = await connected()
        await asyncio.gather(*(bus.publish("busy", step(number)) for number in range(10 * MAX_CONNECTIONS)))
        assert await connected() <= before + MAX_CONNECTIONS
        in_use = await connected()
        async with AsyncExitStack() as watchers:
            for _ in range(2 * MAX_CONNECTIONS):
                await anext(await watchers.enter_async_context(aclosing(cast(Any, bus.watch("busy")))))
            assert await connected() == in_use + 2 * MAX_CONNECTIONS
        async with asyncio.timeout(20):
            while await connected() > in_use:  # noqa: ASYNC110, since Redis tells nobody
                await asyncio.sleep(0.01)
    await bus.close()


async def test_jobs_are_kept_apart(bus: Bus) -> None:
    await bus.publish("one", step(1))
    await bus.publish("other", step(2))
    assert await first(bus, "other", 1) == [step(2)]


async def test_a_long_job_keeps_its_latest_events(bus: Bus) -> None:
    for number in range(2 * KEPT_EVENTS):
        await bus.publish("long", step(number))
    events = await first(bus, "long", KEPT_EVENTS)
    assert events[0]["step"] >= KEPT_EVENTS - 101, "old events are dropped, in Redis some hundred at a time"


async def test_silent_jobs_are_forgotten() -> None:
    bus = LocalBus(timedelta(milliseconds=1))
    await bus.publish("old", step(0))
    await first(bus, "old", 1)
    while bus._kept or bus._news:  # noqa: ASYNC110, since nothing tells that a timer has fired
        await asyncio.sleep(0.001)
