"""Sizes as OpenAI's parameters have them: `1024x1024`, or `auto`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Protocol

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from core.errors import InvalidRequest
from models.catalogue.limits import TaskSettings
from models.catalogue.resolving.sizes import fitted_size

AUTO = "auto"
_RATIO = re.compile(r"([1-9][0-9]{0,2}):([1-9][0-9]{0,2})")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def _known_ratio(ratio: str) -> str:
    if not _RATIO.fullmatch(ratio):
        raise PydanticCustomError("aspect_ratio", "must be WIDTH:HEIGHT, such as 16:9")
    return ratio


class Sized(Protocol):
    """A form that takes a size by any of these names."""

    @property
    def size(self) -> str: ...

    @property
    def width(self) -> int | None: ...

    @property
    def height(self) -> int | None: ...

    @property
    def aspect_ratio(self) -> str | None: ...


def _known(size: str) -> str:
    if size != AUTO and not _SIZE.fullmatch(size):
        raise PydanticCustomError("size", "must be auto, or WIDTHxHEIGHT in pixels, such as 1024x1024")
    return size


SizeText = Annotated[
    str,
    Field(
        description="WIDTHxHEIGHT within the model's limits; auto is the model's own size, or that of the image.",
        examples=["128x128"],
    ),
    AfterValidator(_known),
]


AspectRatio = Annotated[
    str | None,
    Field(description="WIDTH:HEIGHT, in place of size: about as many pixels as the model's own size has."),
    AfterValidator(lambda ratio: None if ratio is None else _known_ratio(ratio)),
]


def refuse_repeated_sides(form: Sized) -> None:
    """Raise InvalidRequest for a side that is given twice."""
    for name in ("width", "height"):
        if form.size != AUTO and getattr(form, name) is not None:
            raise InvalidRequest(name, f"size is {form.size} already; give only one of them")


def sides_of(form: Sized, settings: TaskSettings) -> tuple[int | None, int | None]:
    """Return width and height; None leaves a side to the model or the image. Raises InvalidRequest."""
    match = _SIZE.fullmatch(form.size)
    sides = (int(match[1]), int(match[2])) if match else (form.width, form.height)
    if form.aspect_ratio is None:
        return sides
    if any(sides):
        raise InvalidRequest("aspect_ratio", "says the same as the size; give only one of them")
    return _shaped(form.aspect_ratio, settings)


def size_names(form: Sized) -> dict[str, str]:
    """Return the form's names for width and height."""
    if form.aspect_ratio is not None:
        return dict.fromkeys(("width", "height"), "aspect_ratio")
    return {name: "size" if form.size != AUTO or getattr(form, name) is None else name for name in ("width", "height")}


def _shaped(ratio: str, settings: TaskSettings) -> tuple[int, int]:
    """Return the size of these proportions that is nearest to the model's own."""
    match = _RATIO.fullmatch(ratio)
    assert match is not None, ratio
    wanted = int(match[1]) / int(match[2])
    width = math.sqrt(settings.defaults.width * settings.defaults.height * wanted)
    return fitted_size(round(width), round(width / wanted), settings.limits)
