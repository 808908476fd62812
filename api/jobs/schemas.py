"""The jobs contract's requests and answers, as OpenAPI describes them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field, create_model

from api.http.refusals import Mistake
from api.jobs.forms import JobForm
from api.jobs.orders import StoryOrder
from api.jobs.task_names import TASKS
from api.openapi_description.answer import Answer
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from api.openapi_description.event_streams import described_events
from api.openapi_description.finishing import VARIANTS
from api.storyboard.schemas import EXAMPLE
from core.generation.animation import VIDEOS
from core.generation.events import Download
from core.generation.request import Task
from jobs.job import JobState
from storyboard.job_kind import STORYBOARD

_OF_IMAGES = {
    *("fit", "reference_image", "reference_scale", "control_image", "control_type", "control_scale", "upscale"),
}
_OF_VIDEOS = {"num_frames", "fps"}
_ONLY: dict[Task, set[str]] = {
    Task.TEXT_TO_IMAGE: {"hires"} | _OF_IMAGES,
    Task.IMAGE_TO_IMAGE: {"image", "strength"} | _OF_IMAGES,
    Task.INPAINT: {"image", "mask", "strength", "method", "iterations"} | _OF_IMAGES,
    Task.EDIT: {"images", "mask", "fit", "camera", "upscale"},
    Task.TEXT_TO_VIDEO: _OF_VIDEOS,
    Task.IMAGE_TO_VIDEO: {"image", "last_image", "fit", *VIDEOS} | _OF_VIDEOS,
}
"""The fields that only some tasks have."""
_NEEDED = {
    Task.IMAGE_TO_IMAGE: {"image"},
    Task.INPAINT: {"image", "mask"},
    Task.EDIT: {"images"},
    Task.IMAGE_TO_VIDEO: {"image"},
}


class ServerStatus(Answer):
    status: Literal["healthy", "degraded"]
    message: str
    version: str
    redis: Literal["connected", "disconnected", "not configured"]
    storage: Literal["connected", "disconnected"]


class Submitted(Answer):
    session_id: str
    status: JobState = Field(description="completed at once if a stored result is reused.")
    message: str


class SubmittedBatch(Answer):
    session_id: str = Field(description="Of the batch.")
    status: JobState
    session_ids: list[str] = Field(description="Of its jobs, in order.")


class JobResult(Answer):
    url: str
    media_type: str
    seed: int
    skipped_steps: int = Field(description="Denoising steps that were predicted instead of computed.")
    tiled: bool = Field(description="Whether it was decoded in tiles for want of memory, so that pixels may differ.")
    sound: bool = Field(description="Whether it is a video with sound.")


class JobStatus(Answer):
    session_id: str
    status: JobState
    progress: int = Field(ge=0, le=100)
    message: str
    result_url: str | None = Field(description="Of the first result.")
    error: str | None
    hint: str | None = Field(description="What the model ignored of the prompt.")
    model: str
    task: str
    priority: Literal["high", "normal", "low"]
    results: list[JobResult]
    attempts: int = Field(description="More than one after a restart of the server.")
    created_at: datetime
    finished_at: datetime | None
    position: int | None = Field(default=None, description="Place in line while pending; 1 is next.")


class BatchStatus(Answer):
    session_id: str
    status: JobState
    progress: int = Field(ge=0, le=100)
    counts: dict[JobState, int]
    jobs: list[JobStatus]


class JobPage(Answer):
    jobs: list[JobStatus]
    next_before: datetime | None = Field(description="`before` of the next page; null on the last.")


class WebhookSecret(Answer):
    secret: str


class WebhookDelivery(Answer):
    at: datetime
    status: int | None = Field(description="The receiver's answer; null when it could not be reached.")
    detail: str


class Webhook(Answer):
    session_id: str
    webhook_url: str | None
    told: bool = Field(description="Whether no further attempt is made.")
    deliveries: list[WebhookDelivery]


class NoResult(JobStatus):
    detail: str


class JobRefused(Answer):
    """An error. `field` is there where a field of the request is wrong; `detail` is then a list."""

    detail: str | list[Mistake]
    error: str = Field(description="What is wrong, for people.")
    code: str = Field(description="The same for programs: never changes.")
    field: str | None = Field(default=None, description="The field that is wrong.")


class JobEvent(Answer):
    """The data of an event of a job; events of stories have what `/generate` streams too."""

    progress: int = Field(ge=0, le=100)
    message: str
    hint: str | None = None


class JobQueued(JobEvent):
    position: int = Field(description="1 is next.")


class JobLoading(JobEvent):
    loaded: float = Field(description="How much of the model is in memory, 0 to 1.")
    download: Download | None = Field(default=None, description="While files of the model come from the hub.")


class JobStep(JobEvent):
    step: int
    steps: int
    index: int | None = Field(default=None, description="Which of several images it is about; absent for stories.")
    skipped: bool = Field(default=False, description="Whether it was predicted instead of computed.")


class JobPreview(JobEvent):
    index: int
    step: int
    image: str = Field(description="A data URL.")


class JobEnded(JobEvent):
    error: str | None


EVENTS = described_events(
    queued=JobQueued,
    loading=JobLoading,
    waiting=JobEvent,
    processing=JobEnded,
    started=JobEvent,
    step=JobStep,
    preview=JobPreview,
    planned=JobEvent,
    reference=JobEvent,
    frame=JobEvent,
    hint=JobEvent,
    saving=JobEvent,
    completed=JobEnded,
    failed=JobEnded,
    cancelled=JobEnded,
    error=JobRefused,
)


def described_kinds() -> dict[str, Any]:
    """Return how an operation describes its bodies: one for each kind of job."""
    kinds = {kind: _described(kind, task) for kind, task in TASKS.items()}
    story = described_body(StoryOrder, JSON, MULTIPART, name="StoryboardJob", task=Task.TEXT_TO_IMAGE, **EXAMPLE)
    return {VARIANTS: {"kind": {**kinds, STORYBOARD: {"summary": "Submit a storyboard", **story}}}}


def _described(kind: str, task: Task) -> dict[str, Any]:
    name = "".join(word.capitalize() for word in str(task).split("-"))
    media = (MULTIPART, JSON) if task in _NEEDED else (JSON, MULTIPART)
    example: dict[str, Any] = {} if task in _NEEDED else {"prompt": "a red apple on a blue background", "seed": 42}
    body = described_body(job_fields(task), *media, name=f"{name}Job", task=task, **example)
    return {"summary": f"Submit {str(task).replace('-', ' ')} ({kind})", **body}


def job_fields(task: Task) -> type[BaseModel]:
    """Return a model with the fields that a job of this task has."""
    others = set().union(*_ONLY.values()) - _ONLY[task]
    kept = {
        name: field
        for name, field in JobForm.model_fields.items()
        if name not in others | {"task", "model", "progress"}
    }
    fields: dict[str, Any] = {name: (field.annotation, field) for name, field in kept.items()}
    model: type[BaseModel] = create_model("JobFields", __config__=JobForm.model_config, **fields)
    return model
