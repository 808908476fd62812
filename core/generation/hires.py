"""A second pass at a larger size, or hires fix: what was generated is upscaled, and in part denoised again.

Asked for images larger than they were trained on, models repeat the subject; an upscaled image fixes the composition.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializerFunctionWrapHandler, model_serializer
from pydantic_core import PydanticCustomError, from_json

from core.generation.client_fields import ClientFields
from core.pixels.fitting import Size

USUAL_SCALE = 2.0
MOST_SCALE = 8


UpscaledBy = Literal["lanczos", "model"]
"""How the image is enlarged between the passes: by resizing, or by the server's upscaling model."""


class Hires(ClientFields):
    """The second pass as a client asks for it; its size is given by `scale`, or by one or both sides."""

    scale: float | None = Field(
        default=None, ge=1, le=MOST_SCALE, description="How many times wider and higher the result is. Default: 2."
    )
    width: int | None = Field(
        default=None, ge=1, description="Pixels of the result, in place of scale. Default: in proportion to height."
    )
    height: int | None = Field(
        default=None, ge=1, description="Pixels of the result, in place of scale. Default: in proportion to width."
    )
    strength: float | None = Field(
        default=None, ge=0, le=1, description="How much to change the upscaled image. Default: the model's."
    )
    num_inference_steps: int | None = Field(
        default=None,
        ge=1,
        description="Denoising steps; strength is the share of them that is computed. Default: the request's.",
    )
    upscaler: UpscaledBy | None = Field(
        default=None,
        description="What upscales it in between: lanczos, or the server's upscaling model. Default: lanczos.",
    )


class SecondPass(ClientFields):
    """The second pass, resolved; `width` and `height` are the result's."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    strength: float
    num_inference_steps: int = Field(ge=1)
    upscaler: UpscaledBy = "lanczos"

    @model_serializer(mode="wrap")
    def _without_the_usual(self, fields: SerializerFunctionWrapHandler) -> Mapping[str, Any]:
        """Leave out the default upscaler, so that images carry the same metadata as those of earlier releases."""
        said: dict[str, Any] = fields(self)
        return said if self.upscaler == "model" else {name: said[name] for name in said if name != "upscaler"}

    @property
    def size(self) -> Size:
        return self.width, self.height

    @property
    def denoising_steps(self) -> int:
        """The steps that are computed: `strength` times `num_inference_steps`."""
        return max(1, min(int(self.num_inference_steps * self.strength), self.num_inference_steps))


def _from_text(value: object) -> object:
    """Parse a form's text as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except ValueError as error:
        raise PydanticCustomError("hires", 'must be a JSON object, such as {"scale": 2}') from error


HiresChoice = Annotated[
    Hires | None,
    Field(
        description='A second pass at a larger size: {"scale": 2}, or width and height; with strength and '
        "num_inference_steps, as image-to-image has them. In forms as JSON. Default: none."
    ),
    BeforeValidator(_from_text),
]
