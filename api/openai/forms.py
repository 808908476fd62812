"""What a client may send to the OpenAI routes: OpenAI's parameters, then those of diffusers.

OpenAI's parameters are documented in https://platform.openai.com/docs/api-reference/images; the descriptions here
say what they do on this server.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from api.openai.sizes import AUTO, AspectRatio, SizeText
from core.generation.client_fields import ClientFields, Seed
from core.generation.draft import FitChoice, Loras, Reproducible, Scheduler, Strength
from core.generation.hires import HiresChoice
from core.generation.request import Priority
from core.generation.tuning import Tuning
from core.generation.upscaling import UpscaleChoice
from core.pixels.upload import Pixels

MAX_N = 10
"""The limit of OpenAI's API, however many images the server makes at once."""
UNSUPPORTED = {
    "extra_body": "is an argument of OpenAI's Python client; in a body, its fields stand beside the others",
    "markup": "is not supported; describe the change in the prompt, or mark its place with a mask",
    "complexity": "is not supported; quality and num_inference_steps set how much work to spend",
    "frame_count": "is not supported; this server's images are not animated",
    "frame_duration_ms": "is not supported; this server's images are not animated",
    "svg": "is not supported; this server generates raster images only",
}
"""Parameters that no model here supports."""


class ImagesForm(ClientFields):
    """The parameters that all routes share; never used by itself."""

    events: ClassVar[str]
    """The prefix of the names of streamed events."""

    model: str | None = Field(default=None, description="An id of GET /v1/models. Default: the first model served.")
    n: int = Field(
        default=1, ge=1, le=MAX_N, description="Images to generate, with seed, seed + 1, ...; layers share one seed."
    )
    size: SizeText = AUTO
    aspect_ratio: AspectRatio = None
    quality: Literal["auto", "low", "medium", "high", "xhigh", "max", "standard", "hd"] = Field(
        default="auto",
        description="How many denoising steps, as a share of the model's default: low a half, medium (auto, standard) "
        "all, high (hd) one and a half, xhigh two, max three times as many. num_inference_steps takes precedence.",
    )
    response_format: Literal["b64_json", "url"] | None = Field(
        default=None,
        description="url stores the image and answers with its URL. Default: b64_json; url for models that are called "
        "dall-e-2 or dall-e-3.",
    )
    style: Literal["vivid", "natural"] | None = Field(
        default=None, description="Ignored: describe the style in the prompt."
    )
    output_format: Literal["png", "jpeg", "webp"] = Field(default="png", description="File format of the images.")
    output_compression: int | None = Field(
        default=None, ge=0, le=100, description="Quality of jpeg and webp files; 100 is the default, and the best."
    )
    background: Literal["auto", "opaque", "transparent"] = Field(
        default="auto",
        description="auto is what the model generates, mostly opaque; opaque shows it on white; transparent needs a "
        "model whose images may be transparent, no mask, and png or webp.",
    )
    moderation: Literal["auto", "low"] = Field(
        default="auto", description="Accepted and ignored; the operator decides what is checked."
    )
    stream: bool = Field(default=False, description="Answer with server-sent events.")
    partial_images: int = Field(
        default=0, ge=0, le=3, description="Previews of each image, when streaming: of the size before `upscale`."
    )
    user: str | None = Field(default=None, max_length=512, description="As safety_identifier, which takes precedence.")
    safety_identifier: str | None = Field(
        default=None, max_length=512, description="The client's name for its user; returned in the answer."
    )

    width: int | None = Field(default=None, ge=1, description="Pixels, in place of size.")
    height: int | None = Field(default=None, ge=1, description="Pixels, in place of size.")
    num_inference_steps: int | None = Field(default=None, ge=1, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=0, description="How closely to follow the prompt.")
    true_cfg_scale: float | None = Field(default=None, ge=0, description="Qwen's name for guidance_scale.")
    negative_prompt: str = Field(default="", description="What to keep out of the image.")
    seed: Seed = None
    strength: Strength = None
    scheduler: Scheduler = None
    loras: Loras = ()
    upscale: UpscaleChoice = None
    reproducible: Reproducible = None
    priority: Priority = Field(default=Priority.NORMAL, description="0 is served first, 1 is normal, 2 last.")

    _hints: tuple[str, ...] = PrivateAttr(())
    _names: Mapping[str, str] = PrivateAttr({})

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, fields: Any) -> Any:
        """Drop nulls, which clients send for parameters that were left out."""
        return {name: value for name, value in fields.items() if value is not None}

    @property
    def hints(self) -> tuple[str, ...]:
        """Hints about fields that have no effect, or a different one."""
        return self._hints

    def hinted(self, *hints: str) -> Self:
        """Return the form with further hints."""
        form = self.model_copy()
        form._hints = (*self._hints, *hints)
        return form

    @property
    def names(self) -> Mapping[str, str]:
        """The body's names for fields, where they differ."""
        return self._names

    def named(self, names: Mapping[str, str]) -> Self:
        """Return the form of a body that has these names for fields."""
        form = self.model_copy()
        form._names = {**self._names, **names}
        return form

    @property
    def shown_quality(self) -> str:
        """The quality, by the names that answers use."""
        return {"auto": "medium", "standard": "medium", "hd": "high"}.get(self.quality, self.quality)

    @property
    def compression(self) -> int:
        """Quality of files, 1 to 100."""
        return 100 if self.output_compression is None else max(1, self.output_compression)

    @property
    def identifier(self) -> str | None:
        return self.safety_identifier or self.user


PromptField = Annotated[str, Field(description="What to generate.", examples=["a red apple on a blue background"])]


class GenerationForm(Tuning, ImagesForm):
    """`POST /v1/images/generations`."""

    events: ClassVar[str] = "image_generation"

    prompt: PromptField
    hires: HiresChoice = None


class EditForm(Tuning, ImagesForm):
    """`POST /v1/images/edits`."""

    events: ClassVar[str] = "image_edit"

    prompt: PromptField
    image: tuple[Pixels, ...] = Field(min_length=1, description="The images to edit; repeat the field for several.")
    mask: Pixels | None = Field(
        default=None,
        description="Transparent where to repaint. Same size as the first image, which it masks. Default: "
        "what is fully transparent in the first image, for models that repaint and do not edit by instruction.",
    )
    fit: FitChoice = None
    input_fidelity: Literal["low", "high"] | None = Field(
        default=None, description="high stays closer to the image, for models that edit by image-to-image."
    )


class VariationForm(ImagesForm):
    """`POST /v1/images/variations`."""

    events: ClassVar[str] = "image_edit"

    image: tuple[Pixels, ...] = Field(min_length=1, max_length=1, description="The image to vary.")
    fit: FitChoice = None
