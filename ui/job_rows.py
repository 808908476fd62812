"""The table of jobs: what runs, what waits, and the newest of what has ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from client.calls import Call
from client.results import Job

COLUMNS = ("id", "task", "model", "priority", "status", "progress", "message")
STATUS = COLUMNS.index("status")
OPEN = ("pending", "processing")
"""They come first: what has ended since would push them off the list. Those that wait can be moved, so they lead."""
LIMIT = 50
"""So many are listed of those that run, of those that wait, and of the newest."""
Row = list[Any]


def listings() -> Iterator[Call[list[Row]]]:
    """Yield the calls whose answers are the table, in an order in which no job that goes on meanwhile is missed."""
    for status in (*OPEN, None):
        query = {"limit": LIMIT, **({} if status is None else {"status": status})}
        yield Call("GET", "/api/jobs", _rows, query=query)


def in_order(rows: Iterable[Row]) -> list[Row]:
    """Return what the calls have answered, one after the other, as the table has it: of a job the last row."""
    last = {row[0]: row for row in rows}
    return sorted(last.values(), key=lambda row: (*OPEN, row[STATUS]).index(row[STATUS]))


def _rows(answer: Any) -> list[Row]:
    jobs = [(Job.of(each), each["priority"]) for each in answer.json()["jobs"]]
    return [
        [job.id, job.task, job.model, priority, job.status, f"{job.progress} %", job.message] for job, priority in jobs
    ]
