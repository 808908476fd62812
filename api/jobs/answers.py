"""Jobs as clients see them: the contract's fields, then ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from fastapi.responses import JSONResponse

from api.http.refusals import error_answer, refusal_body
from api.http.result_files import file_url
from core.errors import JubakoError
from jobs.job import Job, JobState
from storage.client import Storage

SUBMITTED = "Task submitted. Use /api/{session_id}/status to check progress."


def submitted(job: Job) -> dict[str, Any]:
    """Return the contract's answer to a submission; the job may be done already if its results are reused."""
    return {"session_id": job.id, "status": JobState.PENDING, "message": SUBMITTED}


def job_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error: the contract's `detail`, and the fields of our other routes."""
    return error_answer(error, {"detail": error.message, **refusal_body(error)})


async def status_of(job: Job, storage: Storage, base_url: str) -> dict[str, Any]:
    """Return a job's status; `base_url` is this server's address, for results in its own folder."""
    results = [
        {
            "url": await file_url(result.key, storage, base_url),
            **result.model_dump(include={"media_type", "seed", "skipped_steps", "tiled", "sound"}),
        }
        for result in job.results
    ]
    return {
        "session_id": job.id,
        "status": job.state,
        "progress": job.progress if job.state is not JobState.FAILED else 0,
        "message": job.message,
        "result_url": results[0]["url"] if results else None,
        "error": job.error,
        "hint": job.hint,
        "model": job.model,
        "task": job.task,
        "priority": job.priority.name.lower(),
        "results": results,
        "attempts": job.attempts,
        "created_at": job.created_at.isoformat(),
        "finished_at": job.finished_at and job.finished_at.isoformat(),
    }


async def batch_status(batch_id: str, jobs: Sequence[Job], storage: Storage, base_url: str) -> dict[str, Any]:
    """Return a batch's status: processing until all of its jobs have ended, failed if any failed."""
    states = [job.state for job in jobs]
    return {
        "session_id": batch_id,
        "status": _state_of_all(states),
        "progress": int(fmean(100 if job.state.final else job.progress for job in jobs)),
        "counts": {str(state): states.count(state) for state in JobState},
        "jobs": [await status_of(job, storage, base_url) for job in jobs],
    }


def deliveries_of(job: Job) -> Mapping[str, Any]:
    """Return the attempts to deliver a job's webhook."""
    attempts = [delivery.model_dump(mode="json") for delivery in job.deliveries]
    return {"session_id": job.id, "webhook_url": job.webhook_url, "told": job.told, "deliveries": attempts}


def _state_of_all(states: Sequence[JobState]) -> JobState:
    if all(state is JobState.PENDING for state in states):
        return JobState.PENDING
    if not all(state.final for state in states):
        return JobState.PROCESSING
    for state in (JobState.FAILED, JobState.CANCELLED):
        if state in states:
            return state
    return JobState.COMPLETED
