"""Draws by jobs, so that results are kept and appear in the gallery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from client.asynchronous import AsyncJubako
from client.calls import STREAM_TASKS
from client.errors import Refused, Unreachable
from client.results import Job, Result, file_stems
from ui.generating.progress_display import ProgressDisplay, ended_html
from ui.generating.story_progress_display import StoryProgressDisplay
from ui.temporary_files import new_folder

SHOWN_EVERY_S = 0.1
"""How often steps are shown, since they come faster than anybody sees; previews are shown at once."""
LOST = "The connection was lost. The job goes on, and what it draws will be in the gallery."
PREVIEWS = 10
"""Of each image, about."""


@dataclass(frozen=True)
class JobProgress:
    """The state of a job."""

    job: Job
    stage: str
    """HTML."""
    hint: str | None = None
    files: tuple[Path, ...] = ()
    """The job's results, once it has completed."""


async def draw(
    jubako: AsyncJubako, api: str, parameters: Mapping[str, Any], display: ProgressDisplay | StoryProgressDisplay
) -> AsyncGenerator[JobProgress, None]:
    """Yield what to show, until the job has ended. Raises Refused and Unreachable.

    Closing the generator does not stop the job.
    """
    wanted = dict(parameters)
    if api in STREAM_TASKS:
        steps = parameters.get("num_inference_steps") or PREVIEWS
        wanted["preview_every"] = max(1, steps // PREVIEWS)
    begun_s = time.monotonic()
    job = await jubako.submit(wanted.pop("prompt"), api, **wanted)
    yield JobProgress(job, display.html())
    with suppress(Refused, Unreachable):
        async with aclosing(jubako.events(job)) as events:
            shown_s = 0.0
            async for event in events:
                if display.handle(event) or time.monotonic() - shown_s > SHOWN_EVERY_S:
                    shown_s = time.monotonic()
                    yield JobProgress(job, display.html(), display.hint)
    job = await jubako.job(job.id)
    if not job.ended:
        yield JobProgress(job, ended_html(LOST), display.hint)
        return
    yield await _end(jubako, job, display, time.monotonic() - begun_s)


async def _end(
    jubako: AsyncJubako, job: Job, display: ProgressDisplay | StoryProgressDisplay, seconds: float
) -> JobProgress:
    if job.status != "completed":
        said = "Cancelled." if job.status == "cancelled" else job.error or job.message
        return JobProgress(job, ended_html(said), job.hint)
    files = await asyncio.to_thread(save, job, await jubako.results(job))
    return JobProgress(job, ended_html(display.said_of(job, seconds)), job.hint, tuple(files))


def save(job: Job, results: list[Result]) -> list[Path]:
    """Write a job's results where the page may show them."""
    folder = new_folder()
    endings = {"image/jpeg": "jpg"}
    return [
        result.save(folder / f"{job.model}-{stem}.{endings.get(kind, kind.rpartition('/')[2])}")
        for result, stem in zip(results, file_stems(results), strict=True)
        for kind in [result.media_type]
    ]
