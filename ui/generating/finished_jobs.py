"""Earlier results: the server's completed jobs, their files, and their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.asynchronous import AsyncJubako
from client.calls import ApiCall
from client.errors import Refused
from client.results import Job
from ui.generating.job_progress import save

FETCHED_AT_ONCE = 4
"""Jobs whose files are fetched at once for one visitor: whole files are in memory, and other visitors wait too."""
VIDEOS = (".mp4", ".webm", ".gif")
DEFAULTS = {"method", "iterations", "num_images", "strength", "prompt_syntax", "control_scale", "reference_scale"}
"""Parameters that the server lists for all requests, though videos do not use them."""
UNCHOSEN = {"guidance_end": 1}
"""Parameters that the server lists even if nobody chose them, with their defaults."""


def is_video(file: Path) -> bool:
    return file.suffix in VIDEOS


def still_here(files: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the files that still exist, by the ids of their jobs."""
    here: dict[str, list[str]] = {}
    for file, job_id in files:
        if Path(file).exists():
            here.setdefault(job_id, []).append(file)
    return here


async def fetched_each(client: AsyncJubako, jobs: Sequence[Job], here: Mapping[str, list[str]]) -> list[list[str]]:
    """Return the files of each job, fetching a few jobs at a time; files in `here`, by job id, need no fetching."""
    places = asyncio.Semaphore(FETCHED_AT_ONCE)

    async def files_of(job: Job) -> list[str]:
        if job.id in here and job.results:
            return here[job.id]
        async with places:
            return await _fetched(client, job)

    return await asyncio.gather(*map(files_of, jobs))


async def _fetched(client: AsyncJubako, job: Job) -> list[str]:
    """Fetch a job's images and videos."""
    if not job.results:
        return []
    try:
        return list(map(str, await asyncio.to_thread(save, job, await client.results(job))))
    except Refused:
        # The files have expired, or one was deleted.
        return []


def list_completed(before: str | None, limit: int) -> ApiCall[tuple[list[Job], str | None]]:
    """Return the call that lists completed jobs; it answers with them and the cursor of the next page."""
    query = {"status": "completed", "limit": limit, **({"before": before} if before else {})}
    return ApiCall(
        "GET",
        "/api/jobs",
        lambda answer: ([Job.of(each) for each in answer.json()["jobs"]], answer.json()["next_before"]),
        query=query,
    )


def request_of(job: Job) -> ApiCall[dict[str, Any]]:
    """Return the call that asks for a video's request, since reading it from the file would take a video library."""

    def read(answer: Any) -> dict[str, Any]:
        said = answer.json()["input"].items()
        fields = {name: value for name, value in said if value and name not in DEFAULTS and value != UNCHOSEN.get(name)}
        return {**fields, "task": job.task, "model": job.model}

    return ApiCall("GET", f"/predictions/{job.id}", read)


def deleting(job_id: str) -> ApiCall[None]:
    return ApiCall("DELETE", f"/api/{job_id}/result", lambda _: None)
