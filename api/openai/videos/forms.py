"""What a client may send to the video routes: OpenAI's parameters, then those of diffusers."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from api.openai.forms import PromptField
from api.openai.sizes import AUTO, AspectRatio, SizeText
from core.generation.animation import AnimationVideos
from core.generation.client_fields import ClientFields, Seed
from core.generation.draft import FitChoice, FramesPerSecond, Loras, NumFrames, Reproducible, Scheduler
from core.generation.request import Priority
from core.generation.tuning import Tuning
from core.pixels.upload import Pixels

MAX_SECONDS = 600


class VideoForm(AnimationVideos, Tuning, ClientFields):
    """`POST /v1/videos`."""

    prompt: PromptField
    model: str | None = Field(
        default=None, description="An id of GET /v1/models. Default, and for OpenAI's names: the first that can do it."
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=MAX_SECONDS,
        description="Length of the video, rounded to what the model can generate. Default: the model's.",
    )
    size: SizeText = AUTO
    aspect_ratio: AspectRatio = None
    input_reference: Pixels | None = Field(
        default=None, description="The image that the video starts with, for models that do image-to-video."
    )
    num_frames: NumFrames = None
    fps: FramesPerSecond = None
    width: int | None = Field(default=None, ge=1, description="Pixels, in place of size.")
    height: int | None = Field(default=None, ge=1, description="Pixels, in place of size.")
    num_inference_steps: int | None = Field(default=None, ge=1, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=0, description="How closely to follow the prompt.")
    true_cfg_scale: float | None = Field(default=None, ge=0, description="Qwen's name for guidance_scale.")
    negative_prompt: str = Field(default="", description="What to keep out of the video.")
    seed: Seed = None
    scheduler: Scheduler = None
    loras: Loras = ()
    fit: FitChoice = None
    reproducible: Reproducible = None
    priority: Priority = Field(default=Priority.NORMAL, description="0 is served first, 1 is normal, 2 last.")
    output_format: Literal["mp4", "webm", "gif"] = Field(default="mp4", description="Format of the video's file.")


class RemixForm(ClientFields):
    """`POST /v1/videos/{video_id}/remix`."""

    prompt: PromptField
