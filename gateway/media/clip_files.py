"""Stills from encoded clips: the first frame, and a sheet of small frames."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Literal

import av
from PIL import Image

TILE_PX = 160
"""Width of a frame on a sheet."""
MOST_TILES = 25
STILL_QUALITY = 85


def first_frame(clip: bytes) -> Image.Image:
    """Return the first frame of a file that `gateway.media.encoding` wrote. Blocks."""
    with av.open(BytesIO(clip), "r") as container:
        return _image(next(container.decode(video=0)))


def frame_sheet(clip: bytes) -> Image.Image:
    """Return frames of such a file, evenly spaced, in rows from left to right. Blocks."""
    with av.open(BytesIO(clip), "r") as container:
        tiles = [_tile(_image(frame)) for frame in container.decode(video=0)]
    count = min(len(tiles), MOST_TILES)
    columns = math.ceil(math.sqrt(count))
    width, height = tiles[0].size
    sheet = Image.new("RGB", (columns * width, math.ceil(count / columns) * height))
    for place in range(count):
        row, column = divmod(place, columns)
        sheet.paste(tiles[place * len(tiles) // count], (column * width, row * height))
    return sheet


def encode_still(image: Image.Image, file_format: Literal["webp", "jpeg"]) -> bytes:
    """Write a still without metadata. Blocks."""
    buffer = BytesIO()
    image.save(buffer, file_format.upper(), quality=STILL_QUALITY)
    return buffer.getvalue()


def _image(frame: av.VideoFrame) -> Image.Image:
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _tile(frame: Image.Image) -> Image.Image:
    return frame.resize((TILE_PX, max(1, round(frame.height * TILE_PX / frame.width))))
