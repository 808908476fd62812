"""What was drawn before: the server's jobs that are done, their files, and what they were asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from client.asynchronous import AsyncJubako
from client.calls import Call
from client.errors import Refused
from client.results import Job
from ui.generating.by_job import save

FETCHED_AT_ONCE = 4
"""Jobs whose files are on their way for one visitor: they are in memory whole, and the server has others to serve."""
VIDEOS = (".mp4", ".webm", ".gif")
DEFAULTS = {"method", "iterations", "num_images", "strength", "prompt_syntax", "control_scale", "reference_scale"}
"""What the server lists for all requests, and videos never have."""
UNCHOSEN = {"guidance_end": 1}
"""What it lists where nobody chose anything else."""


def is_video(file: Path) -> bool:
    return file.suffix in VIDEOS


def still_here(files: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return those of the files that there still are, by the ids of their jobs."""
    here: dict[str, list[str]] = {}
    for file, job_id in files:
        if Path(file).exists():
            here.setdefault(job_id, []).append(file)
    return here


async def fetched_each(client: AsyncJubako, jobs: Sequence[Job], here: Mapping[str, list[str]]) -> list[list[str]]:
    """Return the files of each job, a few jobs at a time; those in `here`, by the ids of their jobs, are there."""
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
        # Its files have expired, or somebody has deleted one of them.
        return []


def completed(before: str | None, limit: int) -> Call[tuple[list[Job], str | None]]:
    """Return the call that lists finished jobs, and where the next page begins."""
    query = {"status": "completed", "limit": limit, **({"before": before} if before else {})}
    return Call(
        "GET",
        "/api/jobs",
        lambda answer: ([Job.of(each) for each in answer.json()["jobs"]], answer.json()["next_before"]),
        query=query,
    )


def request_of(job: Job) -> Call[dict[str, Any]]:
    """Return the call that says what a video was asked for; its file says so where only players look."""

    def read(answer: Any) -> dict[str, Any]:
        said = answer.json()["input"].items()
        fields = {name: value for name, value in said if value and name not in DEFAULTS and value != UNCHOSEN.get(name)}
        return {**fields, "task": job.task, "model": job.model}

    return Call("GET", f"/predictions/{job.id}", read)


def deleting(job_id: str) -> Call[None]:
    return Call("DELETE", f"/api/{job_id}/result", lambda _: None)
