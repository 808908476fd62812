"""A caller's videos, page by page, picked from all of the caller's jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime
from itertools import islice
from typing import Any, Literal

from api.openai.videos.answers import video_of
from jobs.desk.caller_desk import CallerDesk
from jobs.job import Job

SortOrder = Literal["asc", "desc"]
_PAGE = 100


async def video_page(desk: CallerDesk, after: str | None, limit: int, order: SortOrder) -> dict[str, Any]:
    """Return a page of the videos that a desk shows; `after` is the id of the previous page's last video.

    Raises UnknownJob when that video is gone.
    """
    following = await (_older if order == "desc" else _newer)(desk, after, limit + 1)
    shown = [video_of(job) for job in following[:limit]]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(following) > limit,
    }


async def _older(desk: CallerDesk, after: str | None, count: int) -> list[Job]:
    before = None if after is None else (await desk.get(after)).created_at
    older: list[Job] = []
    async for job in _newest_first(desk, before):
        older.append(job)
        if len(older) == count:
            break
    return older


async def _newer(desk: CallerDesk, after: str | None, count: int) -> list[Job]:
    since = None if after is None else (await desk.get(after)).created_at
    newer: list[Job] = []
    async for job in _newest_first(desk, None):
        if since is not None and job.created_at <= since:
            break
        newer.append(job)
    return list(islice(reversed(newer), count))


async def _newest_first(desk: CallerDesk, before: datetime | None) -> AsyncIterator[Job]:
    while True:
        page = await desk.page(None, before, _PAGE)
        for job in page.jobs:
            yield job
        if page.next_before is None:
            return
        before = page.next_before
