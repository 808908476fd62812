"""What happens to a request, in order: Loading* Queued* Started (Step | Preview | Result)* and, unless every
result came, one Failed. `index` is the 0-based number of the result within its request,
`step` is 1-based: `step == steps` is the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    JubakoError,
    LoadFailed,
    LoadInterrupted,
    NonFinite,
    OutOfMemory,
)
from core.generation.step_cache import StepCache


@dataclass(frozen=True)
class Download:
    """How far the files of a model have come from the hub."""

    done_bytes: int
    total_bytes: int
    bytes_per_s: int
    """Over the last few seconds."""


@dataclass(frozen=True)
class Loading:
    """The request waits for its model; sent again whenever something changes."""

    progress: float
    """0 to 1."""
    download: Download | None = None
    """Set while files are being downloaded, which is before `progress` begins to rise."""


@dataclass(frozen=True)
class Queued:
    position: int
    """1 is next; sent again whenever it changes."""


@dataclass(frozen=True)
class Started:
    waited_s: float
    hint: str | None = None
    """What the caller should know of the prompt (`core.generation.hints`)."""
    prompt_tokens: int | None = None
    """Of the whole prompt, as the model's own tokenizer counts them."""


@dataclass(frozen=True)
class Step:
    index: int
    step: int
    steps: int
    skipped: bool = False
    """Whether the step was predicted instead of computed."""


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
    """RGB, or RGBA of models whose images may be transparent."""
    step_cache: StepCache = StepCache.OFF
    """The mode that was used: never AUTO."""
    skipped_steps: int = 0
    """How many steps were predicted instead of computed."""
    tiled: bool = False
    """Whether lack of memory forced decoding it, or encoding an input image, in tiles: pixels may differ slightly."""


@dataclass(frozen=True)
class Sound:
    """The sound track of a clip."""

    samples: bytes
    """Interleaved 16-bit PCM, signed and little-endian."""
    channels: int
    rate_hz: int


@dataclass(frozen=True)
class Clip:
    index: int
    seed: int
    frames: tuple[Image.Image, ...]
    """RGB, at least one, all of one size."""
    fps: int
    step_cache: StepCache = StepCache.OFF
    skipped_steps: int = 0
    tiled: bool = False
    sound: Sound | None = None


@dataclass(frozen=True)
class Failed:
    """The error that ended the request, as it goes over the wire; a cancelled request has one too."""

    code: str
    """The `code` of a JubakoError."""
    message: str
    retry_after_s: int | None = None

    @classmethod
    def of(cls, error: JubakoError) -> Failed:
        return cls(error.code, error.message, error.retry_after_s)

    @property
    def error(self) -> JubakoError:
        """The error that it was made of."""
        if self.code == InvalidRequest.code:
            # What only the loaded model can tell.
            field, _, reason = self.message.partition(": ")
            return InvalidRequest(field, reason)
        return _ERRORS.get(self.code, GenerationFailed)(self.message, self.retry_after_s)


_ERRORS: dict[str, type[JubakoError]] = {
    error.code: error
    for error in (
        Busy,
        Cancelled,
        DeadlineExceeded,
        GenerationFailed,
        LoadFailed,
        LoadInterrupted,
        NonFinite,
        OutOfMemory,
    )
}
"""The errors that end a request in a runner."""


Result = Picture | Clip
"""One of a request's `num_images` results."""
Event = Loading | Queued | Started | Step | Preview | Result | Failed
