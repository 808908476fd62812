"""The one typed request that every contract is translated into.

Everything is decided here: no field is left to a default that lives elsewhere, so that a request drawn
twice gives the same picture. Knows nothing of HTTP and nothing of torch.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

from PIL import Image
from pydantic import BaseModel, ConfigDict, WithJsonSchema

MAX_SEED = 2**63 - 1

Pixels = Annotated[Image.Image, WithJsonSchema({"type": "string", "format": "binary"})]
"""BentoML describes every input of a service in JSON schema; between gateway and runner it travels pickled."""


class Task(StrEnum):
    """What is asked for, in the names of the diffusers documentation."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    INPAINT = "inpaint"


class Priority(IntEnum):
    """Classes of service; a smaller number is served first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


class GenerationRequest(BaseModel):
    """One call of one model, with every parameter resolved and checked.

    `image` is RGB and `mask` is L (255 = repaint); both already have `width` x `height` pixels.
    Picture i of `num_images` is drawn with `seed + i`, so that it can be had again alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    model: str
    task: Task
    prompt: str
    negative_prompt: str = ""
    width: int
    height: int
    num_inference_steps: int
    guidance_scale: float
    seed: int
    num_images: int = 1
    scheduler: str
    strength: float = 1.0
    image: Pixels | None = None
    mask: Pixels | None = None
    priority: Priority = Priority.NORMAL
    deadline_s: float | None = None
    """Seconds from acceptance until the request is given up; None waits for ever."""
    progress: bool = False
    """Whether step events are sent; a caller who only wants the picture saves the traffic."""
    preview_every: int = 0
    """Send a small picture of the latents every so many steps; 0 sends none."""

    @property
    def denoising_steps(self) -> int:
        """Denoiser calls expected: image-to-image and inpainting skip the first part of the schedule."""
        if self.task is Task.TEXT_TO_IMAGE:
            return self.num_inference_steps
        return max(1, min(int(self.num_inference_steps * self.strength), self.num_inference_steps))
