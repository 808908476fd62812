"""Job records in one SQLite file: durable without any server, for a single gateway process.

Every operation is one synchronous transaction on a thread of its own: its caller may be cancelled, the
transaction is not.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from core.generation.request import Priority
from jobs.errors import LedgerUnavailable, UnknownJob
from jobs.job import OPEN, Job, JobState
from jobs.ledger.ledger import JobTransition, LedgerPage
from storage.private import make_private

T = TypeVar("T")
Values = tuple[object, ...]

_IN_LINE = "IFNULL(json_extract(record, '$.moved_s'), created_at)"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS jobs (
    id TEXT PRIMARY KEY, state TEXT NOT NULL, priority INTEGER NOT NULL, caller TEXT NOT NULL,
    created_at REAL NOT NULL, expires_at REAL, untold INTEGER NOT NULL, batch_id TEXT, record TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, created_at);
CREATE INDEX IF NOT EXISTS jobs_in_line ON jobs (state, priority, {_IN_LINE});
CREATE INDEX IF NOT EXISTS jobs_by_batch ON jobs (batch_id);
CREATE INDEX IF NOT EXISTS jobs_by_caller ON jobs (caller, state);
CREATE INDEX IF NOT EXISTS jobs_by_owner ON jobs (IFNULL(json_extract(record, '$.owner'), ''), created_at);
CREATE TABLE IF NOT EXISTS files (key TEXT PRIMARY KEY, owner TEXT NOT NULL, expires_at REAL);
CREATE INDEX IF NOT EXISTS files_by_owner ON files (owner, expires_at);
CREATE TABLE IF NOT EXISTS keys (caller TEXT, key TEXT, job_id TEXT NOT NULL, PRIMARY KEY (caller, key));
CREATE TABLE IF NOT EXISTS contents (digest TEXT PRIMARY KEY, job_id TEXT NOT NULL);
"""
_OPEN = "state IN ('{}', '{}')".format(*OPEN)
_ALIVE = "(expires_at IS NULL OR expires_at > ?)"
_OWNER = "IFNULL(json_extract(record, '$.owner'), '')"
"""Read from the record: files of earlier releases have no such columns."""

_BY_KEY = f"SELECT record FROM jobs JOIN keys ON job_id = id WHERE keys.caller = ? AND key = ? AND {_ALIVE}"


class SqliteLedger:
    """`ttl` is how long a record is kept once its job has ended."""

    def __init__(self, file: Path, ttl: timedelta) -> None:
        self._file = file
        self._ttl_s = ttl.total_seconds()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ledger")
        self._database: sqlite3.Connection | None = None

    async def open(self) -> None:
        await self._on_thread(self._connect)

    async def close(self) -> None:
        await self._on_thread(self._disconnect)
        self._thread.shutdown()

    async def add(self, job: Job, idempotency_key: str | None = None) -> Job:
        return await self.add_all([job], idempotency_key)

    async def add_all(self, jobs: Sequence[Job], idempotency_key: str | None = None) -> Job:
        def add(database: sqlite3.Connection) -> Job:
            first = jobs[0]
            if idempotency_key is not None:
                for earlier in _jobs(database, _BY_KEY, (first.owner, idempotency_key, time.time())):
                    return earlier
                row = (first.owner, idempotency_key, first.id)
                database.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, ?)", row)
            for job in jobs:
                self._write(database, job)
            return first

        return await self._transaction(add)

    async def by_key(self, owner: str, idempotency_key: str) -> Job | None:
        jobs = await self._all(_BY_KEY, (owner, idempotency_key, time.time()))
        return jobs[0] if jobs else None

    async def get(self, job_id: str) -> Job:
        return await self._transaction(lambda database: _read(database, job_id))

    async def change(self, job_id: str, change: JobTransition) -> Job:
        return await self.note(job_id, lambda job: job if job.state.final else change(job))

    async def note(self, job_id: str, change: JobTransition) -> Job:
        def replace(database: sqlite3.Connection) -> Job:
            job = change(_read(database, job_id))
            self._write(database, job)
            return job

        return await self._transaction(replace)

    async def page(
        self, state: JobState | None, before: datetime | None, limit: int, owner: str | None = None
    ) -> LedgerPage:
        wanted = " AND ".join(
            ["state = ?" if state else "? IS NULL", f"{_OWNER} = ?" if owner is not None else "? IS NULL"]
        )
        end = before.timestamp() if before else float("inf")
        query = f"SELECT record FROM jobs WHERE {wanted} AND created_at < ? AND {_ALIVE}"
        values = (state, owner, end, time.time(), limit + 1)
        jobs = await self._all(f"{query} ORDER BY created_at DESC LIMIT ?", values)
        more = len(jobs) > limit
        return LedgerPage(jobs[:limit], jobs[limit - 1].created_at if more else None)

    async def unfinished(self) -> AsyncIterator[Job]:
        for job in await self._all(f"SELECT record FROM jobs WHERE {_OPEN} ORDER BY {_IN_LINE}", ()):
            yield job

    async def unnotified(self) -> AsyncIterator[Job]:
        for job in await self._all("SELECT record FROM jobs WHERE untold", ()):
            yield job

    async def members(self, batch_id: str) -> list[Job]:
        query = f"SELECT record FROM jobs WHERE batch_id = ? AND {_ALIVE} ORDER BY created_at"
        return await self._all(query, (batch_id, time.time()))

    async def waiting(self, priority: Priority) -> int:
        return await self._count("state = ? AND priority = ?", (JobState.PENDING, int(priority)))

    async def ahead_of(self, job: Job) -> int:
        state, priority = JobState.PENDING, int(job.priority)
        before = f"(state = ? AND priority < ?) OR (state = ? AND priority = ? AND {_IN_LINE} < ?)"
        return await self._count(before, (state, priority, state, priority, job.in_line_s))

    async def oldest(self) -> datetime | None:
        query = f"SELECT min(created_at) FROM jobs WHERE {_OPEN}"
        created: float | None = await self._transaction(lambda database: database.execute(query).fetchone()[0])
        return None if created is None else datetime.fromtimestamp(created, UTC)

    async def open_for(self, caller: str) -> int:
        return await self._count(f"caller = ? AND {_OPEN}", (caller,))

    async def remember_result(self, digest: str, job_id: str) -> None:
        statement = "INSERT OR REPLACE INTO contents VALUES (?, ?)"
        await self._transaction(lambda database: database.execute(statement, (digest, job_id)))

    async def recall_result(self, digest: str) -> Job | None:
        query = f"SELECT record FROM jobs JOIN contents ON job_id = id WHERE digest = ? AND state = ? AND {_ALIVE}"
        jobs = await self._all(query, (digest, JobState.COMPLETED, time.time()))
        return jobs[0] if jobs else None

    async def keep_files(self, owner: str, keys: Sequence[str], ttl: timedelta | None) -> None:
        expires_at = None if ttl is None else time.time() + ttl.total_seconds()
        rows = [(key, owner, expires_at) for key in keys]
        statement = "INSERT OR REPLACE INTO files VALUES (?, ?, ?)"
        await self._transaction(lambda database: database.executemany(statement, rows))

    async def file_owner(self, key: str) -> str | None:
        query = f"SELECT owner FROM files WHERE key = ? AND {_ALIVE}"
        row = await self._transaction(lambda database: database.execute(query, (key, time.time())).fetchone())
        return row[0] if row else None

    async def forget_files(self, owner: str, keys: Sequence[str]) -> None:
        rows = [(owner, key) for key in keys]
        statement = "DELETE FROM files WHERE owner = ? AND key = ?"
        await self._transaction(lambda database: database.executemany(statement, rows))

    async def count_files(self, owner: str) -> int:
        return await self._count(f"owner = ? AND {_ALIVE}", (owner, time.time()), "files")

    async def sweep(self) -> int:
        def sweep(database: sqlite3.Connection) -> int:
            database.execute("DELETE FROM files WHERE expires_at <= ?", (time.time(),))
            deleted = database.execute("DELETE FROM jobs WHERE expires_at <= ?", (time.time(),)).rowcount
            for table in ("keys", "contents"):
                database.execute(f"DELETE FROM {table} WHERE job_id NOT IN (SELECT id FROM jobs)")
            return deleted

        return await self._transaction(sweep)

    async def is_reachable(self) -> bool:
        try:
            await self._count("0", ())
        except LedgerUnavailable:
            return False
        return True

    async def _all(self, query: str, values: Values) -> list[Job]:
        return await self._transaction(lambda database: list(_jobs(database, query, values)))

    async def _count(self, condition: str, values: Values, table: str = "jobs") -> int:
        query = f"SELECT count(*) FROM {table} WHERE {condition}"
        return await self._transaction(lambda database: int(database.execute(query, values).fetchone()[0]))

    async def _transaction(self, work: Callable[[sqlite3.Connection], T]) -> T:
        def run() -> T:
            if self._database is None:
                raise LedgerUnavailable("the file of job records is not open")
            with _available(), self._database:
                self._database.execute("BEGIN IMMEDIATE")
                return work(self._database)

        return await self._on_thread(run)

    async def _on_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    # On the ledger's thread.

    def _connect(self) -> None:
        self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _available(f"JUBAKO_JOBS_FILE: {self._file} cannot be opened, or another server uses it"):
            # SQLite gives the files beside it the same permissions.
            self._file.touch(mode=0o600)
            make_private(self._file)
            self._database = sqlite3.connect(self._file, isolation_level=None)
            # Two servers on one file would take each other's jobs.
            self._database.execute("PRAGMA locking_mode=EXCLUSIVE")
            self._database.execute("PRAGMA journal_mode=WAL")
            # A job is accepted once it is on disk: kill -9 and power loss alike.
            self._database.execute("PRAGMA synchronous=FULL")
            self._database.executescript(_SCHEMA)

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None

    def _write(self, database: sqlite3.Connection, job: Job) -> None:
        expires_at = job.kept_from.timestamp() + self._ttl_s if job.kept_from else None
        row = (
            *(job.id, job.state, int(job.priority), job.caller),
            *(job.created_at.timestamp(), expires_at, job.unnotified, job.batch_id, job.model_dump_json()),
        )
        database.execute("INSERT OR REPLACE INTO jobs VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)


def _read(database: sqlite3.Connection, job_id: str) -> Job:
    query = f"SELECT record FROM jobs WHERE id = ? AND {_ALIVE}"
    for job in _jobs(database, query, (job_id, time.time())):
        return job
    raise UnknownJob(job_id)


def _jobs(database: sqlite3.Connection, query: str, values: Values) -> Iterator[Job]:
    return (Job.model_validate_json(record) for (record,) in database.execute(query, values))


@contextmanager
def _available(message: str = "the file of job records cannot be used now") -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise LedgerUnavailable(message) from error
