"""What a client may send: the parameters of Hugging Face's tasks, and all others of the typed APIs."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from core.generation.animation import AnimationVideos
from core.generation.client_fields import ClientFields
from core.generation.draft import FitChoice, FramesPerSecond, NumFrames, Parameters, Strength
from core.generation.hires import HiresChoice
from core.generation.upscaling import UpscaleChoice
from core.pixels.upload import Pixels
from gateway.media.encoding import OutputFormat


def _joined(value: object) -> object:
    """Hugging Face's video tasks have a list of negative prompts."""
    return ", ".join(map(str, value)) if isinstance(value, list) else value


class TargetSize(ClientFields):
    width: int = Field(ge=1)
    height: int = Field(ge=1)


class InferenceParameters(AnimationVideos, Parameters):
    """Of every task."""

    prompt: str = Field(default="", description="What to make of an image.")
    negative_prompt: Annotated[str, BeforeValidator(_joined)] = Field(
        default="", description="What to keep out of the image."
    )
    target_size: TargetSize | None = Field(default=None, description="In place of width and height.")
    mask_image: Pixels | None = Field(
        default=None, description="Base64: white where to repaint. Same size as the image."
    )
    strength: Strength = None
    fit: FitChoice = None
    hires: HiresChoice = None
    upscale: UpscaleChoice = None
    num_frames: NumFrames = None
    fps: FramesPerSecond = None
    output_format: OutputFormat | None = Field(
        default=None, description="Default: what `Accept` says, or png for images and mp4 for videos."
    )


class InferenceOptions(BaseModel):
    """Others are ignored: they are about caches that this server does not have."""

    wait_for_model: bool = Field(default=True, description="Whether to wait for a model that is not loaded.")


class Inputs(ClientFields):
    """Never used by itself."""

    inputs: str = Field(min_length=1, description="The prompt, or an image in base64.", examples=["a red apple"])
    options: InferenceOptions = InferenceOptions()


class InferenceForm(Inputs):
    """The body of `POST /models/{model}`, before its parameters are checked."""

    parameters: dict[str, Any] | None = None


class InferenceBody(Inputs):
    """The same body, as OpenAPI describes it."""

    parameters: InferenceParameters | None = None
