"""Waiting for jobs on behalf of a client: within a time, and for as long as the client is there."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, suppress

from starlette.requests import Request

from api.http.responses.disconnects import unless_disconnected
from core.deadline import Deadline
from core.errors import Cancelled
from jobs.desk.caller_desk import CallerDesk
from jobs.job import Job


async def ended_or_late(request: Request, desk: CallerDesk, job: Job, limit_s: float) -> Job:
    """Return a job once it has ended, or as it is when the time is up.

    The request's body must have been read. Raises Cancelled if the client disconnects first; the job goes on.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await unless_disconnected(request, _end_of(desk, job))
    return await desk.get(job.id)


async def ended(request: Request, desk: CallerDesk, job: Job, deadline: Deadline) -> Job:
    """Return a job once it has ended; cancel it if its client disconnects, or the deadline passes.

    The request's body must have been read. Raises Cancelled or DeadlineExceeded.
    """
    try:
        job = await ended_or_late(request, desk, job, deadline.left_s)
    except Cancelled:
        await desk.cancel(job.id)
        raise
    if not job.state.final:
        await desk.cancel(job.id)
        raise deadline.exceeded("before it was done")
    return job


async def _end_of(desk: CallerDesk, job: Job) -> None:
    async with aclosing(desk.watch(job.id)) as events:
        async for _ in events:
            pass
