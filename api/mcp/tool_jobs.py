"""Tool calls as jobs: followed, with progress, until they end or take too long, or left to run in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress

from anyio import CancelScope

from api.http.context import current_desk
from api.mcp.answers import ToolResult, tool_result_of
from core.errors import Cancelled, GenerationFailed
from gateway.metrics import measured
from jobs.desk.order import Order
from jobs.job import Job, JobState
from settings import settings

Report = Callable[[int, str], Awaitable[None]]
"""Reports a call's progress: a percentage that rises with each report, and a message."""


async def done(order: Order, task: str, background: bool, report: Report, deadline_s: float | None) -> ToolResult:
    """Submit an order; answer with its results, or, if in the `background`, with its status. Raises JubakoError.

    The call waits for `deadline_s`, by default the time limit of requests; a story without a deadline of its own still
    has that of jobs.
    """
    with measured() as measure:
        measure.task = task
        (job,) = await current_desk().submit(order)
        measure.model = job.model
        if not background:
            job = await _ended(job, deadline_s or settings().request_timeout_s, report)
        return await tool_result_of(job, order.base_url)


async def _ended(job: Job, limit_s: float, report: Report) -> Job:
    """Return a job once it has ended, or as it is when the time is up: it goes on, and `job_status` shows it.

    The job is cancelled if the caller leaves, since nobody would see the results.
    """
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                await _follow(job, report)
    except asyncio.CancelledError:
        with CancelScope(shield=True):
            await current_desk().cancel(job.id)
        raise
    job = await current_desk().get(job.id)
    if job.state is JobState.FAILED:
        raise GenerationFailed(f"{job.error} (job {job.id})")
    if job.state is JobState.CANCELLED:
        raise Cancelled(f"job {job.id} was cancelled")
    return job


async def _follow(job: Job, report: Report) -> None:
    reported = -1
    async with aclosing(current_desk().watch(job.id)) as events:
        async for event in events:
            if event["progress"] > reported:
                reported = event["progress"]
                await report(reported, event["message"])
