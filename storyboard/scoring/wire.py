"""A comparison as bytes, for the hop to the scorer: a line of JSON, then the raw pixels of its images, RGB."""

from __future__ import annotations

import json

from PIL import Image
from pydantic import BaseModel, PositiveInt

from models.catalogue.sources import Source
from storyboard.scoring.pairs import Asked, Pair

Size = tuple[PositiveInt, PositiveInt]


class _Header(BaseModel):
    source: Source
    sides: tuple[Size, Size | str]
    """Each side's image size, or its text."""

    @property
    def sizes(self) -> list[Size]:
        return [side for side in self.sides if not isinstance(side, str)]


def encode_asked(source: Source, pair: Pair) -> bytes:
    """Write a pair, and the CLIP that is to compare it."""
    sides = [side if isinstance(side, str) else side.size for side in pair]
    header = json.dumps({"source": source.model_dump(mode="json"), "sides": sides}).encode()
    images = (side.convert("RGB").tobytes() for side in pair if isinstance(side, Image.Image))
    return b"".join((header, b"\n", *images))


def decode_asked(frame: bytes) -> Asked:
    """Read a pair and its CLIP. Raises ValueError for invalid bytes, before memory of a claimed size is allocated."""
    line, _, pixels = frame.partition(b"\n")
    header = _Header.model_validate_json(line)
    lengths = [3 * width * height for width, height in header.sizes]
    if sum(lengths) != len(pixels):
        raise ValueError(f"the frame claims {sum(lengths)} bytes of pixels, and has {len(pixels)}")
    first, other = header.sides
    image = Image.frombytes("RGB", first, pixels[: lengths[0]])
    if isinstance(other, str):
        return header.source, (image, other)
    return header.source, (image, Image.frombytes("RGB", other, pixels[lengths[0] :]))
