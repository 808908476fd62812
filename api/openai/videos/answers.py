"""Videos as OpenAI's clients know them: a job's state, and its file as a video or as stills."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from starlette.responses import Response

from core.errors import JubakoError
from core.generation.hints import joined_hints
from core.generation.request import Task
from gateway.media.clip_files import encode_still, first_frame, frame_sheet
from gateway.media.reading.uploads import in_image_thread
from jobs.job import Job, JobState
from settings import settings
from storage.client import Storage

Variant = Literal["video", "thumbnail", "spritesheet"]
STATES = {
    JobState.PENDING: "queued",
    JobState.PROCESSING: "in_progress",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "failed",
}


class NotReady(JubakoError):
    """The video has no file yet, or never will."""

    code = "video_not_ready"
    status = 409

    def __init__(self, job: Job) -> None:
        super().__init__(f"the video is {STATES[job.state]}: {job.message}; GET /v1/videos/{job.id} reports on it")


def is_video(job: Job) -> bool:
    return job.task in (Task.TEXT_TO_VIDEO, Task.IMAGE_TO_VIDEO)


def video_of(job: Job) -> dict[str, Any]:
    """Return a job's fields as those of a video."""
    request, done = job.request, job.state is JobState.COMPLETED
    return {
        "id": job.id,
        "object": "video",
        "model": job.model,
        "status": STATES[job.state],
        "progress": job.progress,
        "created_at": int(job.created_at.timestamp()),
        "completed_at": int(job.finished_at.timestamp()) if done and job.finished_at else None,
        "expires_at": _expiry(job.finished_at) if done and job.finished_at else None,
        "prompt": request["prompt"],
        "size": f"{request['width']}x{request['height']}",
        "seconds": f"{request['num_frames'] / request['fps']:g}",
        "remixed_from_video_id": job.remixed_from,
        "error": _error(job),
        "seed": request["seed"],
        "skipped_steps": job.results[0].skipped_steps if job.results else None,
        "hint": job.hint or joined_hints(*request.get("hints", ())),
    }


async def content_of(job: Job, storage: Storage, variant: Variant) -> Response:
    """Return a video's file, its first frame or a sheet of frames. Raises NotReady, NotStored or StorageUnavailable."""
    file = await file_of(job, storage)
    match variant:
        case "video":
            return Response(file, media_type=job.results[0].media_type)
        case "thumbnail":
            return Response(await in_image_thread(_thumbnail, file), media_type="image/webp")
        case "spritesheet":
            return Response(await in_image_thread(_spritesheet, file), media_type="image/jpeg")


async def file_of(job: Job, storage: Storage) -> bytes:
    """Return a video's file. Raises NotReady, NotStored or StorageUnavailable."""
    if not job.results:
        raise NotReady(job)
    return await storage.get(job.results[0].key)


def _thumbnail(file: bytes) -> bytes:
    return encode_still(first_frame(file), "webp")


def _spritesheet(file: bytes) -> bytes:
    return encode_still(frame_sheet(file), "jpeg")


def _expiry(finished_at: datetime) -> int:
    kept_s = min(settings().task_ttl_s, settings().result_ttl_s)
    return int((finished_at + timedelta(seconds=kept_s)).timestamp())


def _error(job: Job) -> dict[str, str] | None:
    if job.state is JobState.CANCELLED:
        return {"code": "cancelled", "message": job.message}
    return {"code": "generation_failed", "message": job.error or job.message} if job.state is JobState.FAILED else None
