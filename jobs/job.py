"""A job: one request, for images or a storyboard, and its state.

A job moves forward: pending -> processing -> completed | failed | cancelled. A worker that dies leaves it processing,
and another one takes it up again (`attempts` counts that). Only a job that is moved to another line before it has made
progress becomes pending again. `turn` says which worker has it if two think they do. Knows nothing of queues, ledgers
or HTTP.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from core.deadline import Deadline
from core.generation.request import Priority

GENERATION = "pictures"
"""The name, in records, of the kind of job that is one generation request."""

WAITING = "Waiting to start"


class JobState(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        return self in (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED)


OPEN = (JobState.PENDING, JobState.PROCESSING)

MAX_FORGIVEN = 20
"""How many attempts do not count because of a move to another line; bounded, since a job may kill its workers."""


class _Data(BaseModel):
    # Records may have been written by a newer release.
    model_config = ConfigDict(frozen=True, extra="ignore")


class StoredResult(_Data):
    """One picture or video in storage."""

    key: str
    media_type: str
    seed: int
    skipped_steps: int = 0
    tiled: bool = False
    sound: bool = False


class WebhookDelivery(_Data):
    """One attempt to notify a webhook."""

    at: datetime
    status: int | None
    """The receiver's HTTP status; None when it could not be reached."""
    detail: str


class Job(_Data):
    """A record as the ledger keeps it. Every change makes a new value."""

    id: str = Field(default_factory=lambda: str(uuid.uuid4()))
    kind: str = GENERATION
    """What to do with the request. Old records lack it: those releases had only this kind."""
    request: Mapping[str, Any]
    """The request, as JSON without its images; its fields depend on the kind."""
    inputs: Mapping[str, str] = Field(default_factory=dict)
    """Storage keys of the request's images by field; `images_00`, `images_01` for lists."""
    keeps_inputs: bool = False
    """Whether its input images are kept after it has ended, so that it can be repeated by its id."""
    output_format: str
    quality: int = 90
    priority: Priority = Priority.NORMAL
    caller: str = ""
    """The caller whose limits it counts against."""
    owner: str = ""
    """Its owner; nobody else finds it. Empty without keys, when all jobs are one user's."""
    fingerprint: str | None = None
    """Fingerprint of the submitting request, if that had an idempotency key."""
    base_url: str = ""
    """This server's address as the caller knew it, for results in its own folder."""
    webhook_url: str | None = None
    webhook_shape: str = ""
    """The contract whose shape its webhook has; empty for that of jobs."""
    batch_id: str | None = None
    """Shared by jobs that were submitted together."""
    remixed_from: str | None = None
    """The job from whose result it starts."""
    state: JobState = JobState.PENDING
    progress: int = Field(default=0, ge=0, le=100)
    message: str = WAITING
    error: str | None = None
    hint: str | None = None
    """What the caller should know about the result, such as what was ignored."""
    results: tuple[StoredResult, ...] = ()
    turn: int = 0
    """How often a worker has taken it up; the last one has it."""
    attempts: int = 0
    """How often it was begun, except when it was then moved; more than one after a crash or a restart."""
    runners_lost: int = 0
    """How many of its attempts ended because the model's process did."""
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    moved_s: float | None = None
    """When it was moved to its priority's line, in Unix time; None if it has always been in it."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    deliveries: tuple[WebhookDelivery, ...] = ()
    told: bool = False
    """Whether its webhook needs no further attempt."""
    deleted: bool = False
    """Whether its owner has deleted it, so that nobody finds it any more."""

    @property
    def model(self) -> str:
        return str(self.request["model"])

    @property
    def deadline(self) -> Deadline:
        """The request's deadline, which runs since the job was created, perhaps in another process."""
        age_s = (datetime.now(UTC) - self.created_at).total_seconds()
        return Deadline(self.request.get("deadline_s"), time.monotonic() - age_s)

    @property
    def in_line_s(self) -> float:
        """Since when it has been in its priority's line, in Unix time."""
        return self.created_at.timestamp() if self.moved_s is None else self.moved_s

    @property
    def task(self) -> str:
        """The request's task; for a kind without tasks, the kind."""
        return str(self.request.get("task", self.kind))

    def changed(self, **changes: Any) -> Job:
        return self.model_copy(update=changes)

    def begun(self) -> Job:
        """Return the job as a worker takes it up."""
        return self._attempted(turn=self.turn + 1, message="Generation started")

    def begun_again(self) -> Job:
        """Return the job as the same worker begins it again after the model's process has ended."""
        message = "The model's process ended; waiting to start again"
        return self._attempted(runners_lost=self.runners_lost + 1, message=message)

    def _attempted(self, **changes: Any) -> Job:
        started_at = self.started_at or datetime.now(UTC)
        return self.changed(state=JobState.PROCESSING, attempts=self.attempts + 1, started_at=started_at, **changes)

    @property
    def waits(self) -> bool:
        """Whether nothing of it is drawn yet, and it has not ended."""
        return not self.state.final and not self.progress

    def has_turn(self, turn: int) -> bool:
        """Whether the worker of this turn still has it: it has not ended, moved or been taken up again since."""
        return self.state is JobState.PROCESSING and self.turn == turn

    def advanced(self, progress: int, message: str) -> Job:
        """Return the job with new progress, which never goes back, even if an attempt starts over."""
        return self.changed(progress=max(progress, self.progress), message=message)

    def prioritized(self, priority: Priority) -> Job:
        """Return the job at the end of another priority's line, even if a worker has it, which will then leave it."""
        if self.priority is priority:
            return self
        request = {**self.request, "priority": int(priority)}
        # An attempt that is broken off for this does not count.
        forgiven = self.state is JobState.PROCESSING and self.turn - self.attempts < MAX_FORGIVEN
        attempts = self.attempts - forgiven
        waiting = {"state": JobState.PENDING, "attempts": attempts, "message": WAITING}
        return self.changed(priority=priority, request=request, moved_s=time.time(), **waiting)

    def hinted(self, hint: str) -> Job:
        return self.changed(hint=hint)

    def completed(self, results: tuple[StoredResult, ...]) -> Job:
        return self._finished(
            JobState.COMPLETED, progress=100, results=results, message="Generation completed successfully"
        )

    def without_results(self) -> Job:
        """Return an ended job whose files were deleted."""
        job = self.changed(keeps_inputs=False)
        return job.changed(results=(), message="The results were deleted") if self.results else job

    def removed(self) -> Job:
        return self.changed(deleted=True)

    def failed(self, error: str) -> Job:
        return self._finished(JobState.FAILED, error=error, message="Generation failed")

    @property
    def files(self) -> list[str]:
        """Storage keys of its inputs and results."""
        return [*self.inputs.values(), *(result.key for result in self.results)]

    @property
    def unnotified(self) -> bool:
        """Whether its webhook has not been notified of the end."""
        return self.state.final and self.webhook_url is not None and not self.told

    @property
    def kept_from(self) -> datetime | None:
        """The time from which its record's lifetime counts; None while there is still something to do."""
        if not self.state.final or self.unnotified:
            return None
        return self.deliveries[-1].at if self.deliveries else self.finished_at

    def cancelled(self) -> Job:
        return self._finished(JobState.CANCELLED, message="Generation cancelled")

    def _finished(self, state: JobState, **changes: Any) -> Job:
        return self.changed(state=state, finished_at=datetime.now(UTC), **changes)


class Ending:
    """A change that ends a job and knows whether it took effect: another process may have ended the job first."""

    def __init__(self, change: Callable[[Job], Job]) -> None:
        self._change = change
        self._made: Job | None = None

    def __call__(self, job: Job) -> Job:
        self._made = self._change(job)
        return self._made

    def made(self, kept: Job) -> bool:
        """Whether the job in the ledger is the one that this change made."""
        return kept == self._made
