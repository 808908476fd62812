"""Small images as files, and how to look at what was read from them."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from gateway.media.reading.decoding import uploaded

MAX_PX = 10_000
RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)


def saved(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def left_red_right_blue(mode: str = "RGB") -> Image.Image:
    image = Image.new("RGB", (8, 4), RED)
    image.paste(BLUE, (4, 0, 8, 4))
    return image.convert(mode)


def decoded(data: bytes) -> Image.Image:
    return uploaded(data, "image", MAX_PX).open()


def close(pixel: object, wanted: tuple[int, int, int], tolerance: int = 3) -> bool:
    assert isinstance(pixel, tuple)
    return all(abs(got - want) <= tolerance for got, want in zip(pixel, wanted, strict=True))


def colours(width: int, height: int) -> Image.Image:
    """An image of which no two places are alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))
