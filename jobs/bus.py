"""The events of a job for its watchers: steps, previews, its end.

Events are dictionaries with an `event` name. A watcher first gets those that are still kept, then new ones. Events may
be lost; what must not be lost is in the ledger.
"""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from datetime import timedelta
from typing import Any, Protocol

from jobs.redis_connection import connect, connect_alone, reachable

JobEvent = Mapping[str, Any]

KEPT_EVENTS = 300
"""Events kept per job: enough for the steps and previews of most requests."""
AFTER_END_S = 60
"""How long events are kept once their job has ended, for watchers that are still reading."""
_BLOCK_MS = 1000
"""Shorter than the connection's own timeout, which would end the watch."""


class Bus(Protocol):
    async def publish(self, job_id: str, event: JobEvent, last: bool = False) -> None:
        """Publish an event to the watchers of a job; nothing follows the `last` event."""

    def watch(self, job_id: str) -> AsyncIterator[JobEvent]:
        """Yield kept and new events, without end; the caller knows which event is the last."""

    async def latest(self, job_id: str) -> JobEvent | None:
        """Return the last event, or None when none is kept."""

    async def close(self) -> None: ...


class LocalBus:
    """A bus within one process. `ttl` is how long a silent job's events are kept."""

    def __init__(self, ttl: timedelta) -> None:
        self._ttl_s = ttl.total_seconds()
        self._kept: defaultdict[str, deque[tuple[int, JobEvent]]] = defaultdict(lambda: deque(maxlen=KEPT_EVENTS))
        self._news: defaultdict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._expiry: dict[str, asyncio.TimerHandle] = {}
        self._count = 0

    async def publish(self, job_id: str, event: JobEvent, last: bool = False) -> None:
        self._count += 1
        self._kept[job_id].append((self._count, event))
        self._news.pop(job_id, asyncio.Event()).set()
        if job_id in self._expiry:
            self._expiry.pop(job_id).cancel()
        ttl_s = AFTER_END_S if last else self._ttl_s
        self._expiry[job_id] = asyncio.get_running_loop().call_later(ttl_s, self._forget, job_id)

    async def watch(self, job_id: str) -> AsyncIterator[JobEvent]:
        seen = 0
        while True:
            news = self._news[job_id]
            for number, event in [(n, e) for n, e in self._kept.get(job_id, ()) if n > seen]:
                seen = number
                yield event
            await news.wait()

    async def latest(self, job_id: str) -> JobEvent | None:
        kept = self._kept.get(job_id)
        return kept[-1][1] if kept else None

    async def close(self) -> None:
        for expiry in self._expiry.values():
            expiry.cancel()

    def _forget(self, job_id: str) -> None:
        for memory in (self._kept, self._expiry, self._news):
            memory.pop(job_id, None)


class RedisBus:
    """A bus between all replicas: one Redis stream per job."""

    def __init__(self, url: str, ttl: timedelta) -> None:
        self._url, self._redis = url, connect(url)
        self._ttl_s = max(1, round(ttl.total_seconds()))

    async def publish(self, job_id: str, event: JobEvent, last: bool = False) -> None:
        name = f"jubako:events:{job_id}"
        with reachable():
            async with self._redis.pipeline(transaction=True) as steps:
                steps.xadd(name, {"event": json.dumps(event)}, maxlen=KEPT_EVENTS, approximate=True)
                steps.expire(name, AFTER_END_S if last else self._ttl_s)
                await steps.execute()

    async def watch(self, job_id: str) -> AsyncIterator[JobEvent]:
        name, last = f"jubako:events:{job_id}", "0"
        async with aclosing(connect_alone(self._url)) as redis:
            while True:
                with reachable():
                    answer = await redis.xread({name: last}, block=_BLOCK_MS)
                for entry, fields in answer[0][1] if answer else ():
                    last = entry
                    yield json.loads(fields["event"])

    async def latest(self, job_id: str) -> JobEvent | None:
        with reachable():
            newest = await self._redis.xrevrange(f"jubako:events:{job_id}", count=1)
        return json.loads(newest[0][1]["event"]) if newest else None

    async def close(self) -> None:
        await self._redis.aclose()
