"""What a job may be: a generation, a storyboard. A kind restores its requests, carries them out and reports on them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Self, TypeVar

from core.generation.request import Priority
from jobs.job import Job


class JobRequest(Protocol):
    """What jobs need of a request: a pydantic model whose pictures are decoded, alone or in tuples."""

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
    """Of denoising, predicted instead of computed."""
    tiled: bool = False
    """Decoded in tiles for want of memory."""
    sound: bool = False
    """A video that can be heard."""


@dataclass(frozen=True)
class NumberedFile:
    """One of a job's results; `index` is its place among them, from 0."""

    index: int
    file: File


@dataclass(frozen=True)
class JobUpdate:
    """What happened to a job, for those who watch it."""

    name: str
    share: float = 0.0
    """How much of the job is made, 0 to 1; progress never goes back, so 0 leaves it as it is."""
    message: str | None = None
    """The job's message from now on; None leaves it as it is."""
    details: Mapping[str, Any] = field(default_factory=dict)
    hint: str | None = None
    """For the job's record."""


class Kind(Protocol[R]):
    def restore(self, fields: Mapping[str, Any]) -> R:
        """Make a request of the fields of a job's record and its pictures."""

    def carry_out(self, request: R, job: Job) -> AsyncGenerator[JobUpdate | NumberedFile, None]:
        """Yield what happens, down to the last result; raise the JubakoError that ended it."""


Kinds = Mapping[str, Kind[Any]]
"""By the names that records have."""
