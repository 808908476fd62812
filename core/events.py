"""What happens to a request, in order: Loading* Queued* Started (Step | Preview | Result)* and, unless every
result came, one Failed or Cancelled. `index` is the 0-based number of the result within its request,
`step` is 1-based: `step == steps` is the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from core.errors import Busy, JubakoError


@dataclass(frozen=True)
class Loading:
    """The request waits for its model."""

    progress: float
    """0 to 1; sent again whenever it changes."""


@dataclass(frozen=True)
class Queued:
    position: int
    """1 is next; sent again whenever it changes."""


@dataclass(frozen=True)
class Started:
    waited_s: float


@dataclass(frozen=True)
class Step:
    index: int
    step: int
    steps: int


@dataclass(frozen=True)
class Preview:
    index: int
    step: int
    image: Image.Image
    """RGB, one pixel per latent."""


@dataclass(frozen=True)
class Picture:
    index: int
    seed: int
    image: Image.Image


@dataclass(frozen=True)
class Clip:
    index: int
    seed: int
    frames: tuple[Image.Image, ...]
    """RGB, at least one, all of one size."""
    fps: int


@dataclass(frozen=True)
class Failed:
    code: str
    """The `code` of a JubakoError."""
    message: str
    retry_after_s: int | None = None
    """When to try again, for errors that pass."""

    @classmethod
    def of(cls, error: JubakoError) -> Failed:
        return cls(error.code, error.message, error.retry_after_s if isinstance(error, Busy) else None)


@dataclass(frozen=True)
class Cancelled:
    pass


Result = Picture | Clip
"""What a request has `num_images` of."""
Event = Loading | Queued | Started | Step | Preview | Result | Failed | Cancelled
