"""Tiles as bytes, for the hop to the upscaler: a line of JSON, then raw pixels, RGB; pixels alone on the way back."""

from __future__ import annotations

from typing import NamedTuple

from PIL import Image
from pydantic import BaseModel, Field

from core.generation.upscaling import UpscaleFactor
from core.pixels.tiles import TILE_PX

SERVICE = "runner-upscaler"
"""The name of the BentoML service."""


class AskedTile(NamedTuple):
    image: Image.Image
    factor: UpscaleFactor


class _Header(BaseModel):
    width: int = Field(ge=1, le=TILE_PX)
    height: int = Field(ge=1, le=TILE_PX)
    factor: UpscaleFactor


def encode_tile(tile: AskedTile) -> bytes:
    header = _Header(width=tile.image.width, height=tile.image.height, factor=tile.factor)
    return b"".join((header.model_dump_json().encode(), b"\n", tile.image.tobytes()))


def decode_tile(frame: bytes) -> AskedTile:
    """Read a tile. Raises ValueError for other bytes, before anything of a claimed size is allocated."""
    line, _, pixels = frame.partition(b"\n")
    header = _Header.model_validate_json(line)
    if len(pixels) != 3 * header.width * header.height:
        raise ValueError(f"the frame claims {header.width}x{header.height} pixels, and has {len(pixels)} bytes")
    return AskedTile(Image.frombytes("RGB", (header.width, header.height), pixels), header.factor)


def decode_upscaled(pixels: bytes, tile: AskedTile) -> Image.Image:
    """Read an upscaled tile. Raises ValueError for other bytes."""
    return Image.frombytes("RGB", (tile.image.width * tile.factor, tile.image.height * tile.factor), pixels)
