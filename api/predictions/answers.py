"""Jobs as predictions, and errors as Replicate's clients read them."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.http.refusals import error_answer
from api.http.result_files import file_url
from api.openapi_description.answer import Answer
from core.errors import JubakoError
from core.generation.animation import VIDEOS
from jobs.job import GENERATION, Job, JobState
from storage.client import Storage

STATUSES = {
    JobState.PENDING: "starting",
    JobState.PROCESSING: "processing",
    JobState.COMPLETED: "succeeded",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
}
OWNER = "jubako"
"""The owner of all models here, since names on Replicate begin with one."""
FOLDER = "/replicate/v1"
BARS = 10
_NO_INPUT = (
    *("model", "task", "priority", "deadline_s", "progress", "preview_every", "hints", "layered"),
    *("segment_frames", *VIDEOS),
)
"""Fields of a request that are not shown as `input`: about its job, set by the server, or about its files."""


class PredictionUrls(Answer):
    get: str
    cancel: str


class Prediction(Answer):
    id: str
    model: str
    version: str
    status: str = Field(description="starting, processing, succeeded, failed or canceled.")
    input: dict[str, Any]
    output: list[str] | None = Field(description="Addresses of the files; in Cog's predictions, data URLs.")
    logs: str = Field(description="A progress bar, which clients read.")
    error: str | None
    metrics: dict[str, float] = Field(
        description="Once it has ended: predict_time in seconds, and skipped_steps of all images (layers count once)."
    )
    created_at: str
    started_at: str | None
    completed_at: str | None
    urls: PredictionUrls
    hint: str | None = Field(default=None, description="What the model ignored of the input.")


class Predictions(Answer):
    results: list[Prediction]
    next: str | None
    previous: str | None


class WebhookKey(Answer):
    key: str


class PredictionRefused(BaseModel):
    """An error, after RFC 7807."""

    title: str = Field(description="The error's code, which never changes.")
    detail: str
    status: int


def prediction_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error."""
    return error_answer(error, {"title": error.code, "detail": error.message, "status": error.status})


def is_prediction(job: Job) -> bool:
    """Whether a job is for images or videos, from whichever contract; stories do not have a prediction's fields."""
    return job.kind == GENERATION


async def prediction_of(job: Job, storage: Storage, base_url: str, folder: str) -> dict[str, Any]:
    """Return a job as a prediction, its files as addresses; `folder` is the path before `/predictions`."""
    files = await asyncio.gather(*(file_url(result.key, storage, base_url) for result in job.results))
    return _prediction(job, list(files), f"{base_url}{folder}/predictions/{job.id}")


async def prediction_with_files(job: Job, storage: Storage, base_url: str) -> dict[str, Any]:
    """Return a job as a prediction of Cog, its files as data URLs."""
    files = await asyncio.gather(*(storage.get(result.key) for result in job.results))
    urls = [
        f"data:{result.media_type};base64,{base64.b64encode(file).decode()}"
        for result, file in zip(job.results, files, strict=True)
    ]
    return _prediction(job, urls, f"{base_url}/predictions/{job.id}")


async def _of_replicate(job: Job, storage: Storage, base_url: str) -> dict[str, Any]:
    return await prediction_of(job, storage, base_url, FOLDER)


async def _of_cog(job: Job, storage: Storage, base_url: str) -> dict[str, Any]:
    return await prediction_of(job, storage, base_url, "")


REPLICATE, COG = "replicate", "cog"
WEBHOOK_BODIES = {REPLICATE: _of_replicate, COG: _of_cog}
"""By `Job.webhook_shape`."""


def _prediction(job: Job, files: list[str], address: str) -> dict[str, Any]:
    started, finished = job.started_at, job.finished_at
    seconds = (finished - started).total_seconds() if started and finished else 0.0
    shown = {"hint": job.hint} if job.hint else {}
    return {
        "id": job.id,
        "model": f"{OWNER}/{job.model}",
        "version": job.model,
        "status": STATUSES[job.state],
        "input": {name: value for name, value in job.request.items() if name not in _NO_INPUT},
        "output": files or None,
        "logs": _bar(job),
        "error": job.error,
        "metrics": _metrics(job, seconds) if job.state.final else {},
        "created_at": job.created_at.isoformat(),
        "started_at": started and started.isoformat(),
        "completed_at": finished and finished.isoformat(),
        "urls": {"get": address, "cancel": f"{address}/cancel"},
        **shown,
    }


def _metrics(job: Job, seconds: float) -> dict[str, float]:
    # Layers come from one run, and each has that run's steps.
    runs = job.results[:1] if job.request.get("layered") else job.results
    return {"predict_time": seconds, "skipped_steps": sum(result.skipped_steps for result in runs)}


def _bar(job: Job) -> str:
    filled = job.progress * BARS // 100
    return f"{job.progress}%|{'#' * filled}{' ' * (BARS - filled)}| {job.progress}/100"
