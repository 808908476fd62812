"""What a job can be: a generation, a storyboard. A kind restores requests, carries them out and reports on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from core.generation.request import Priority
from jobs.job import Job


class JobRequest(Protocol):
    """What jobs need of a request: a pydantic model with decoded images, alone or in tuples."""

    @property
    def priority(self) -> Priority: ...

    @property
    def deadline_s(self) -> float | None: ...

    def __iter__(self) -> Generator[tuple[str, Any], None, None]: ...

    def model_dump(self, *, mode: str, exclude: set[str]) -> dict[str, Any]: ...

    def model_copy(self, *, update: Mapping[str, Any]) -> Self: ...


R = TypeVar("R", bound=JobRequest)


@dataclass(frozen=True)
class File:
    """A result as it will be stored."""

    data: bytes
    media_type: str
    seed: int
    skipped_steps: int = 0
    """Denoising steps that were predicted instead of computed."""
    tiled: bool = False
    """Whether it was decoded in tiles for want of memory."""
    sound: bool = False
    """Whether it is a video with sound."""


@dataclass(frozen=True)
class NumberedFile:
    """One of a job's results; `index` is its place among them, from 0."""

    index: int
    file: File


@dataclass(frozen=True)
class JobUpdate:
    """What has happened to a job, for its watchers."""

    name: str
    share: float = 0.0
    """How much of the job is done, 0 to 1; progress never goes back, so 0 leaves it unchanged."""
    message: str | None = None
    """The job's new message; None leaves it unchanged."""
    details: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    """For the job's record."""


class Kind(Protocol[R]):
    def restore(self, fields: Mapping[str, Any]) -> R:
        """Make a request from the fields of a job's record, with its images decoded."""

    def carry_out(self, request: R, job: Job) -> AsyncGenerator[JobUpdate | NumberedFile, None]:
        """Yield updates and results, up to the last result; raise the JubakoError that ended it."""


Kinds = Mapping[str, Kind[Any]]
"""Kinds by their names in records."""
