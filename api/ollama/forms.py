"""What a client may send to Ollama's routes: the fields that affect images."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from core.generation.client_fields import ClientFields, Seed
from core.generation.tuning import GuidanceEnd, StepCaching
from core.generation.upscaling import UpscaleChoice
from core.pixels.upload import Pixels

Sizes = Annotated[int | None, Field(ge=1), BeforeValidator(lambda value: value or None)]
"""Ollama's clients send 0 for an omitted value."""


class OllamaOptions(BaseModel):
    """Ollama's options that affect images, and ours; its other options are about text."""

    model_config = ConfigDict(frozen=True, extra="allow")

    seed: Seed = None
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd = 1
    upscale: UpscaleChoice = None


class OllamaForm(ClientFields):
    """`POST /ollama/api/generate`."""

    model: str = Field(description="A name of /ollama/api/tags.", examples=["miniature"])
    prompt: str = Field(default="", description="What to generate.")
    images: tuple[Pixels, ...] = Field(default=(), description="Images to edit, or to start from, in base64.")
    width: Sizes = Field(default=None, description="Pixels. Default: the model's, or that of the image.")
    height: Sizes = Field(default=None, description="Pixels. Default: the model's, or that of the image.")
    steps: Sizes = Field(default=None, description="Denoising steps. Default: the model's.")
    options: OllamaOptions = OllamaOptions()
    stream: bool = Field(default=True, description="Whether to answer with lines of progress.")


class OllamaName(BaseModel):
    """`POST /ollama/api/show`."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="A name of /ollama/api/tags.")
