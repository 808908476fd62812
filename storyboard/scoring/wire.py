"""A comparison as bytes, for the hop to the scorer: a line of JSON, then the raw pixels of its image, RGB."""

from __future__ import annotations

from PIL import Image
from pydantic import BaseModel, PositiveInt

from models.catalogue.sources import Source
from storyboard.scoring.pairs import ImageTextPair, ScoringRequest


class _Header(BaseModel):
    source: Source
    size: tuple[PositiveInt, PositiveInt]
    text: str


def encode_asked(source: Source, pair: ImageTextPair) -> bytes:
    """Write a pair, and the CLIP that is to compare it."""
    image, text = pair
    header = _Header(source=source, size=image.size, text=text).model_dump_json().encode()
    return b"".join((header, b"\n", image.convert("RGB").tobytes()))


def decode_asked(frame: bytes) -> ScoringRequest:
    """Read a pair and its CLIP. Raises ValueError for invalid bytes, before memory of a claimed size is allocated."""
    line, _, pixels = frame.partition(b"\n")
    header = _Header.model_validate_json(line)
    width, height = header.size
    if 3 * width * height != len(pixels):
        raise ValueError(f"the frame claims {3 * width * height} bytes of pixels, and has {len(pixels)}")
    return header.source, (Image.frombytes("RGB", header.size, pixels), header.text)
