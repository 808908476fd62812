"""Checks that say what is wrong and what would be right."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeVar

from PIL import Image

from core.errors import InvalidRequest
from core.upload import Upload

Number = TypeVar("Number", int, float)

MAX_PROPORTION = 8
"""Longest to shortest side of a picture that a model looks at."""


def within(field: str, value: Number, lowest: float, highest: float) -> Number:
    """Return a number, or raise InvalidRequest."""
    if not lowest <= value <= highest:
        raise InvalidRequest(field, f"{value} is not between {lowest} and {highest}")
    return value


def at_most(field: str, value: Number, highest: float) -> Number:
    """Return a number that the server's own limit allows, or raise InvalidRequest."""
    if value > highest:
        raise InvalidRequest(field, f"{value} is more than {highest}, the most this server allows")
    return value


def known(field: str, name: str, names: Collection[str]) -> str:
    """Return a name that is among `names`, or raise InvalidRequest."""
    if name not in names:
        raise InvalidRequest(field, f"{name!r} is unknown; known: {', '.join(sorted(names)) or 'none'}")
    return name


def resized(image: Image.Image | Upload, width: int, height: int) -> Image.Image | Upload:
    """Return the image in this size; itself when it already has it."""
    if image.size == (width, height):
        return image
    if isinstance(image, Upload):
        return image.resized(width, height)
    # A mask stays hard: what its author did not paint must not be repainted a little.
    return image.resize((width, height), Image.Resampling.NEAREST if image.mode == "L" else Image.Resampling.LANCZOS)


def looked_at(field: str, image: Image.Image | Upload, max_pixels: int) -> Image.Image | Upload:
    """Return an image that a model looks at in its own proportions, within so many pixels.

    Raises InvalidRequest for one so elongated that the model's own scaling would make something huge of it.
    """
    longest, shortest = max(image.size), min(image.size)
    if longest > MAX_PROPORTION * shortest:
        size = f"{image.width} x {image.height}"
        raise InvalidRequest(field, f"is {size} pixels; at most {MAX_PROPORTION} times as long as wide is allowed")
    scale = (max_pixels / (image.width * image.height)) ** 0.5
    if scale >= 1:
        return image
    width, height = (max(1, int(side * scale)) for side in image.size)
    return resized(image, width, height)
