"""The table of jobs: those that wait, those that run, and the newest that have ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from client.calls import ApiCall
from client.results import Job

COLUMNS = ("id", "task", "model", "priority", "status", "progress", "message")
STATUS = COLUMNS.index("status")
OPEN = ("pending", "processing")
"""Open jobs are asked for first, or newer jobs would push them off the list. Pending ones, which can be moved, lead."""
LIMIT = 50
"""How many are listed of each: pending jobs, processing jobs, and the newest."""
JobRow = list[Any]


def listings() -> Iterator[ApiCall[list[JobRow]]]:
    """Yield the calls whose answers make the table, in an order that misses no job that changes state in between."""
    for status in (*OPEN, None):
        query = {"limit": LIMIT, **({} if status is None else {"status": status})}
        yield ApiCall("GET", "/api/jobs", _rows, query=query)


def in_order(rows: Iterable[JobRow]) -> list[JobRow]:
    """Return the table's rows, from the calls' answers in order: each job's last row counts."""
    last = {row[0]: row for row in rows}
    return sorted(last.values(), key=lambda row: (*OPEN, row[STATUS]).index(row[STATUS]))


def _rows(answer: Any) -> list[JobRow]:
    jobs = [(Job.of(each), each["priority"]) for each in answer.json()["jobs"]]
    return [
        [job.id, job.task, job.model, priority, job.status, f"{job.progress} %", job.message] for job, priority in jobs
    ]
