"""Job records in one SQLite file: durable without any server, for a single gateway process."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path

import aiosqlite

from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.job import OPEN, Job, JobState
from jobs.ledger import Change, Page
from models.request import Priority

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, priority INTEGER NOT NULL, caller TEXT NOT NULL,
    created_at REAL NOT NULL, expires_at REAL, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created_at);
CREATE INDEX IF NOT EXISTS jobs_by_caller ON jobs (caller, state);
CREATE TABLE IF NOT EXISTS keys (caller TEXT, key TEXT, job_id TEXT NOT NULL, PRIMARY KEY (caller, key));
CREATE TABLE IF NOT EXISTS contents (digest TEXT PRIMARY KEY, job_id TEXT NOT NULL);
"""
_OPEN = "state IN ('{}', '{}')".format(*OPEN)
_ALIVE = "(expires_at IS NULL OR expires_at > ?)"


class SqliteLedger:
    """`ttl` is how long a record is kept once its job has ended."""

    def __init__(self, file: Path, ttl: timedelta) -> None:
        self._file = file
        self._ttl_s = ttl.total_seconds()
        self._database: aiosqlite.Connection | None = None
        # One connection, so one transaction at a time.
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        await asyncio.to_thread(self._file.parent.mkdir, parents=True, exist_ok=True)
        self._database = await aiosqlite.connect(self._file, isolation_level=None)
        await self._database.execute("PRAGMA journal_mode=WAL")
        # A job is accepted once it is on disk: kill -9 and power loss alike.
        await self._database.execute("PRAGMA synchronous=FULL")
        await self._database.executescript(_SCHEMA)

    async def close(self) -> None:
        if self._database is not None:
            await self._database.close()

    async def add(self, job: Job, idempotency_key: str | None = None) -> Job:
        async with self._transaction() as database:
            if idempotency_key is not None:
                earlier = await self._one(
                    database,
                    f"SELECT record FROM jobs JOIN keys ON job_id = id WHERE keys.caller = ? AND key = ? AND {_ALIVE}",
                    (job.caller, idempotency_key, time.time()),
                )
                if earlier is not None:
                    return earlier
                await database.execute(
                    "INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", (job.caller, idempotency_key, job.id)
                )
            await self._write(database, job)
        return job

    async def get(self, job_id: str) -> Job:
        async with self._transaction() as database:
            return await self._read(database, job_id)

    async def change(self, job_id: str, change: Change) -> Job:
        return await self._replace(job_id, lambda job: job if job.state.final else change(job))

    async def note(self, job_id: str, change: Change) -> Job:
        return await self._replace(job_id, change)

    async def page(self, state: JobState | None, before: datetime | None, limit: int) -> Page:
        wanted = "state = ?" if state else "? IS NULL"
        end = before.timestamp() if before else float("inf")
        condition = f"{wanted} AND created_at < ? AND {_ALIVE}"
        query = f"SELECT record FROM jobs WHERE {condition} ORDER BY created_at DESC LIMIT ?"
        jobs = await self._all(query, (state, end, time.time(), limit + 1))
        more = len(jobs) > limit
        return Page(jobs[:limit], jobs[limit - 1].created_at if more else None)

    async def unfinished(self) -> AsyncIterator[Job]:
        for job in await self._all(f"SELECT record FROM jobs WHERE {_OPEN} ORDER BY created_at", ()):
            yield job

    async def waiting(self, priority: Priority) -> int:
        return await self._count("state = ? AND priority = ?", (JobState.PENDING, int(priority)))

    async def open_for(self, caller: str) -> int:
        return await self._count(f"caller = ? AND {_OPEN}", (caller,))

    async def remember_result(self, digest: str, job_id: str) -> None:
        async with self._transaction() as database:
            await database.execute("INSERT OR REPLACE INTO contents VALUES (?, ?)", (digest, job_id))

    async def recall_result(self, digest: str) -> Job | None:
        query = f"SELECT record FROM jobs JOIN contents ON job_id = id WHERE digest = ? AND state = ? AND {_ALIVE}"
        jobs = await self._all(query, (digest, JobState.COMPLETED, time.time()))
        return jobs[0] if jobs else None

    async def sweep(self) -> int:
        async with self._transaction() as database:
            cursor = await database.execute("DELETE FROM jobs WHERE expires_at <= ?", (time.time(),))
            for table in ("keys", "contents"):
                await database.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT id FROM jobs)")
            return cursor.rowcount

    async def is_reachable(self) -> bool:
        try:
            await self._count("0", ())
        except LedgerUnavailable:
            return False
        return True

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[aiosqlite.Connection]:
        if self._database is None:
            raise LedgerUnavailable("the file of job records is not open")
        async with self._turn:
            try:
                await self._database.execute("BEGIN IMMEDIATE")
                try:
                    yield self._database
                except BaseException:
                    await self._database.rollback()
                    raise
                await self._database.commit()
            except sqlite3.Error as error:
                raise LedgerUnavailable("the file of job records cannot be used now") from error

    async def _replace(self, job_id: str, change: Change) -> Job:
        async with self._transaction() as database:
            job = change(await self._read(database, job_id))
            await self._write(database, job)
        return job

    async def _read(self, database: aiosqlite.Connection, job_id: str) -> Job:
        query = f"SELECT record FROM jobs WHERE id = ? AND {_ALIVE}"
        job = await self._one(database, query, (job_id, time.time()))
        if job is None:
            raise UnknownJob(job_id)
        return job

    async def _write(self, database: aiosqlite.Connection, job: Job) -> None:
        expires_at = job.finished_at.timestamp() + self._ttl_s if job.finished_at else None
        row = (
            *(job.id, job.state, int(job.priority), job.caller),
            *(job.created_at.timestamp(), expires_at, job.model_dump_json()),
        )
        await database.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    async def _one(self, database: aiosqlite.Connection, query: str, values: tuple[object, ...]) -> Job | None:
        async with database.execute(query, values) as cursor:
            row = await cursor.fetchone()
        return None if row is None else Job.model_validate_json(row[0])

    async def _all(self, query: str, values: tuple[object, ...]) -> list[Job]:
        async with self._transaction() as database, database.execute(query, values) as cursor:
            return [Job.model_validate_json(row[0]) async for row in cursor]

    async def _count(self, condition: str, values: tuple[object, ...]) -> int:
        query = f"SELECT count(*) FROM jobs WHERE {condition}"
        async with self._transaction() as database, database.execute(query, values) as cursor:
            row = await cursor.fetchone()
        assert row is not None
        return int(row[0])
