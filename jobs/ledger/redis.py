"""Job records in Redis, shared by every replica of the gateway.

    {prefix}job:{id}             the record as JSON; expires after the job has ended
    {prefix}state:{state}        job ids of one state, by time of creation
    {prefix}waiting:{priority}   pending job ids of one priority, by when they joined its line
    {prefix}owned:{state}:{owner}  job ids of one state and owner, by time of creation
    {prefix}open:{caller}        job ids of one caller that are not final
    {prefix}untold               ids of jobs whose webhook has not been notified
    {prefix}batch:{id}           job ids of one batch
    {prefix}key:{owner}:{key}    the job of an idempotency key
    {prefix}files:{owner}        stored results of one owner, by when they expire
    {prefix}file:{key}           the owner of a stored result
    {prefix}content:{digest}     the job whose results answer requests of this content

Every change of a record and of its index entries is one transaction.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from redis.exceptions import WatchError

from core.generation.request import Priority
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.job import OPEN, Job, JobState
from jobs.ledger.ledger import JobTransition, LedgerPage
from jobs.redis_connection import connect, reachable

PREFIX = "jubako:"
KEY_EXTRA_S = 86400
"""The longest that a job is expected to take from acceptance to its end."""
_SCAN = 200


class RedisLedger:
    """`ttl` is how long a record is kept once its job has ended."""

    def __init__(self, url: str, ttl: timedelta) -> None:
        self._redis = connect(url)
        self._ttl_s = max(1, round(ttl.total_seconds()))

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        await self._redis.aclose()

    async def add(self, job: Job, idempotency_key: str | None = None) -> Job:
        return await self.add_all([job], idempotency_key)

    async def add_all(self, jobs: Sequence[Job], idempotency_key: str | None = None) -> Job:
        with reachable():
            async with self._redis.pipeline(transaction=True) as steps:
                return await self._add(steps, jobs, idempotency_key)

    async def by_key(self, owner: str, idempotency_key: str) -> Job | None:
        with reachable():
            job_id = await self._redis.get(f"{PREFIX}key:{owner}:{idempotency_key}")
            return None if job_id is None else await self._find(job_id)

    async def get(self, job_id: str) -> Job:
        with reachable():
            job = await self._find(job_id)
        if job is None:
            raise UnknownJob(job_id)
        return job

    async def change(self, job_id: str, change: JobTransition) -> Job:
        return await self._replace(job_id, lambda job: job if job.state.final else change(job))

    async def note(self, job_id: str, change: JobTransition) -> Job:
        return await self._replace(job_id, change)

    async def page(
        self, state: JobState | None, before: datetime | None, limit: int, owner: str | None = None
    ) -> LedgerPage:
        end = f"({before.timestamp()}" if before else "+inf"
        states = [state] if state else list(JobState)
        with reachable():
            jobs = [job for each in states for job in await self._newest(_states(each, owner), end, limit + 1)]
        jobs.sort(key=lambda job: job.created_at, reverse=True)
        more = len(jobs) > limit
        return LedgerPage(jobs[:limit], jobs[limit - 1].created_at if more else None)

    async def unfinished(self) -> AsyncIterator[Job]:
        with reachable():
            ids = [i for state in OPEN for i in await self._redis.zrange(f"{PREFIX}state:{state}", 0, -1)]
            found = [job for job_id in ids if (job := await self._find(job_id)) is not None]
        for job in sorted(found, key=lambda job: job.in_line_s):
            yield job

    async def unnotified(self) -> AsyncIterator[Job]:
        with reachable():
            ids = await self._redis.zrange(f"{PREFIX}untold", 0, -1)
            found = [job for job_id in ids if (job := await self._find(job_id)) is not None]
        for job in found:
            yield job

    async def members(self, batch_id: str) -> list[Job]:
        with reachable():
            ids = await self._redis.zrange(f"{PREFIX}batch:{batch_id}", 0, -1)
            return [job for job_id in ids if (job := await self._find(job_id)) is not None]

    async def waiting(self, priority: Priority) -> int:
        with reachable():
            return int(await self._redis.zcard(f"{PREFIX}waiting:{int(priority)}"))

    async def ahead_of(self, job: Job) -> int:
        older = f"({job.in_line_s}"
        with reachable():
            own = int(await self._redis.zcount(f"{PREFIX}waiting:{int(job.priority)}", "-inf", older))
        return own + sum([await self.waiting(p) for p in Priority if p < job.priority])

    async def oldest(self) -> datetime | None:
        with reachable():
            first = [await self._redis.zrange(f"{PREFIX}state:{s}", 0, 0, withscores=True) for s in OPEN]
        created = [score for entries in first for _, score in entries]
        return datetime.fromtimestamp(min(created), UTC) if created else None

    async def open_for(self, caller: str) -> int:
        with reachable():
            return int(await self._redis.zcard(f"{PREFIX}open:{caller}"))

    async def remember_result(self, digest: str, job_id: str) -> None:
        with reachable():
            await self._redis.set(f"{PREFIX}content:{digest}", job_id, ex=self._ttl_s)

    async def recall_result(self, digest: str) -> Job | None:
        with reachable():
            job_id = await self._redis.get(f"{PREFIX}content:{digest}")
            job = None if job_id is None else await self._find(job_id)
        return job if job is not None and job.state is JobState.COMPLETED else None

    async def keep_files(self, owner: str, keys: Sequence[str], ttl: timedelta | None) -> None:
        expires_at = float("inf") if ttl is None else time.time() + ttl.total_seconds()
        name = f"{PREFIX}files:{owner}"
        ttl = ttl and max(ttl, timedelta(seconds=1))
        with reachable():
            async with self._redis.pipeline(transaction=True) as steps:
                steps.zadd(name, dict.fromkeys(keys, expires_at))
                for key in keys:
                    steps.set(f"{PREFIX}file:{key}", owner, ex=ttl)
                if ttl is not None:
                    steps.expire(name, ttl)
                await steps.execute()

    async def file_owner(self, key: str) -> str | None:
        with reachable():
            owner: str | None = await self._redis.get(f"{PREFIX}file:{key}")
        return owner

    async def forget_files(self, owner: str, keys: Sequence[str]) -> None:
        with reachable():
            await self._redis.zrem(f"{PREFIX}files:{owner}", *keys)
            await self._redis.delete(*(f"{PREFIX}file:{key}" for key in keys))

    async def count_files(self, owner: str) -> int:
        name = f"{PREFIX}files:{owner}"
        with reachable():
            await self._redis.zremrangebyscore(name, "-inf", time.time())
            return int(await self._redis.zcard(name))

    async def sweep(self) -> int:
        """Remove expired records from the lists of ended jobs; the records themselves are gone already."""
        with reachable():
            async for name in self._redis.scan_iter(match=f"{PREFIX}owned:*"):
                await self._sweep(name)
            return sum([await self._sweep(_states(state)) for state in JobState if state.final])

    async def is_reachable(self) -> bool:
        try:
            with reachable():
                return bool(await self._redis.ping())
        except LedgerUnavailable:
            return False

    async def _add(self, steps: Any, jobs: Sequence[Job], idempotency_key: str | None) -> Job:
        first = jobs[0]
        name = f"{PREFIX}key:{first.owner}:{idempotency_key}"
        while True:
            if idempotency_key is not None:
                await steps.watch(name)
                earlier = await steps.get(name)
                if earlier is not None and (kept := await self._find(earlier)) is not None:
                    return kept
                steps.multi()
                # Longer than the record's lifetime, which only begins when the job has ended.
                steps.set(name, first.id, ex=self._ttl_s + KEY_EXTRA_S)
            for job in jobs:
                self._write(steps, job, None)
            try:
                await steps.execute()
            except WatchError:
                continue
            return first

    async def _replace(self, job_id: str, change: JobTransition) -> Job:
        with reachable():
            async with self._redis.pipeline(transaction=True) as steps:
                return await self._replaced(steps, job_id, change)

    async def _replaced(self, steps: Any, job_id: str, change: JobTransition) -> Job:
        name = f"{PREFIX}job:{job_id}"
        while True:
            await steps.watch(name)
            record = await steps.get(name)
            if record is None:
                raise UnknownJob(job_id)
            before = Job.model_validate_json(record)
            job = change(before)
            steps.multi()
            self._write(steps, job, before)
            try:
                await steps.execute()
            except WatchError:
                continue
            return job

    def _write(self, steps: Any, job: Job, before: Job | None) -> None:
        """Append the commands that write the record and update the indices to a transaction."""
        created = job.created_at.timestamp()
        ttl = {} if job.kept_from is None else {"ex": self._ttl_s}
        steps.set(f"{PREFIX}job:{job.id}", job.model_dump_json(), **ttl)
        self._index(steps, f"{PREFIX}untold", job, job.unnotified, created)
        if job.batch_id is not None:
            steps.zadd(f"{PREFIX}batch:{job.batch_id}", {job.id: created})
            steps.expire(f"{PREFIX}batch:{job.batch_id}", self._ttl_s + KEY_EXTRA_S)
        if before is not None and before.priority is not job.priority:
            steps.zrem(f"{PREFIX}waiting:{int(before.priority)}", job.id)
        self._index(steps, f"{PREFIX}waiting:{int(job.priority)}", job, job.state is JobState.PENDING, job.in_line_s)
        if before is not None and before.state is job.state:
            return
        if before is not None:
            steps.zrem(_states(before.state), job.id)
            steps.zrem(_states(before.state, job.owner), job.id)
        steps.zadd(_states(job.state), {job.id: created})
        steps.zadd(_states(job.state, job.owner), {job.id: created})
        self._index(steps, f"{PREFIX}open:{job.caller}", job, not job.state.final, created)

    def _index(self, steps: Any, name: str, job: Job, belongs: bool, at_s: float) -> None:
        if belongs:
            steps.zadd(name, {job.id: at_s})
        else:
            steps.zrem(name, job.id)

    async def _find(self, job_id: str) -> Job | None:
        record = await self._redis.get(f"{PREFIX}job:{job_id}")
        return None if record is None else Job.model_validate_json(record)

    async def _newest(self, name: str, end: str, limit: int) -> list[Job]:
        jobs: list[Job] = []
        offset = 0
        while len(jobs) < limit:
            ids = await self._redis.zrevrangebyscore(name, end, "-inf", start=offset, num=_SCAN)
            found = await self._redis.mget([f"{PREFIX}job:{job_id}" for job_id in ids]) if ids else []
            jobs += [Job.model_validate_json(record) for record in found if record is not None]
            if len(ids) < _SCAN:
                break
            offset += _SCAN
        return jobs[:limit]

    async def _sweep(self, name: str) -> int:
        ids = [*await self._redis.zrange(name, 0, -1)]
        gone = [job_id for job_id in ids if not await self._redis.exists(f"{PREFIX}job:{job_id}")]
        return int(await self._redis.zrem(name, *gone)) if gone else 0


def _states(state: JobState, owner: str | None = None) -> str:
    """Return the name of the list of jobs in a state, of one owner or all."""
    return f"{PREFIX}state:{state}" if owner is None else f"{PREFIX}owned:{state}:{owner}"
