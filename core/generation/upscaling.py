"""Upscaling: a finished image becomes a larger one, without being generated again."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from pydantic import Field

from core.errors import InvalidRequest
from core.pixels.fitting import Size

FIELD = "upscale"
MOST_UPSCALED_PX = 2**25
"""The most pixels of one result, all of which are in memory when it is encoded: 1448 x 1448 upscaled by 4."""

MOST_SIDE_PX = 16_383
"""The longest side of one result, which is WebP's limit."""


class UpscaleFactor(IntEnum):
    """How many times wider and higher."""

    TWO = 2
    FOUR = 4


UpscaleChoice = Annotated[
    UpscaleFactor | None,
    Field(
        description="How many times wider and higher the result is than generated: 2 or 4. It is upscaled by the "
        "server's upscaling model, or by Lanczos, as the hint then says. Default: as it was generated."
    ),
]


def upscaled_size(size: Size, factor: UpscaleFactor, field: str = FIELD) -> Size:
    """Return the size of an upscaled image. Raises InvalidRequest for one that is too large."""
    width, height = size[0] * factor, size[1] * factor
    if width * height > MOST_UPSCALED_PX:
        raise InvalidRequest(
            field, f"makes {width} x {height} pixels, {width * height}; at most {MOST_UPSCALED_PX} are allowed"
        )
    if max(width, height) > MOST_SIDE_PX:
        raise InvalidRequest(field, f"makes {width} x {height} pixels; a side has at most {MOST_SIDE_PX}")
    return width, height
