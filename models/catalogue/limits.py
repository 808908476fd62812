"""Defaults and limits of a model's requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Self

from pydantic import Field, model_validator

from core.generation.request import MOST_FPS
from core.generation.tuning import MOST_STEPS
from core.validation import Strict, refuse


class Defaults(Strict):
    """The values of fields that a request leaves out."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    """Pixels of the output, unless an image gives the size."""
    num_inference_steps: int = Field(ge=1)
    guidance_scale: float = Field(ge=0)
    """1 or less means no guidance, unless guidance is distilled into the model."""
    strength: float = Field(default=0.8, ge=0, le=1)
    """For image-to-image and inpainting; other tasks ignore it."""
    scheduler: str
    """One of the family's samplers (`models.catalogue.families.schedulers`)."""
    max_sequence_length: int | None = Field(default=None, ge=1)
    """Tokens of the prompt, for a model trained on another number than its pipeline's default."""
    num_frames: int = Field(default=1, ge=1)
    """Of a video."""
    fps: int = Field(default=16, ge=1, le=MOST_FPS)
    """Frames a second of a video."""


class Limits(Strict):
    """Limits of a request, inclusive."""

    min_px: int = Field(ge=1)
    """Smallest width or height."""
    max_px: int = Field(ge=1)
    """Largest width or height."""
    max_pixels: int = Field(ge=1)
    """Largest width times height."""
    multiple_px: int = Field(ge=1)
    """Width and height must be multiples of this."""
    min_steps: int = Field(default=1, ge=1)
    max_steps: int = Field(ge=1, le=MOST_STEPS)
    guidance_scale: tuple[float, float]
    """Lowest and highest."""
    max_frames: int = Field(default=1, ge=1)
    """Frames of one video."""
    max_images: int = Field(default=1, ge=1)
    """Input images of one edit."""

    @property
    def smallest_px(self) -> int:
        """The smallest side that is allowed."""
        return -(-self.min_px // self.multiple_px) * self.multiple_px

    @model_validator(mode="after")
    def _can_be_kept(self) -> Self:
        refuse(_limits_mistakes(self))
        return self


class TaskSettings(Strict):
    """Defaults and limits of one task."""

    defaults: Defaults
    limits: Limits


def _limits_mistakes(limits: Limits) -> Iterator[str]:
    """Yield what is wrong with limits that no request could satisfy."""
    multiple, smallest = limits.multiple_px, limits.smallest_px
    if smallest > limits.max_px:
        yield f"no multiple of {multiple} is between min_px, {limits.min_px}, and max_px, {limits.max_px}"
    if smallest**2 > limits.max_pixels:
        yield f"max_pixels: {limits.max_pixels} is less than the smallest picture has, {smallest}x{smallest}"
    lowest, highest = limits.guidance_scale
    if lowest > highest:
        yield f"the lowest guidance_scale, {lowest}, is above the highest, {highest}"
