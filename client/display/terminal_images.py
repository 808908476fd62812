"""Images as text: two pixels for each character, in the 24-bit colours of modern terminals."""

from __future__ import annotations

from PIL import Image as Pillow
from rich.color import Color
from rich.segment import Segment, Segments
from rich.style import Style

UPPER_HALF = "▀"
"""The character's foreground is the upper pixel, its background the lower one."""
WIDTH = 32
"""Characters."""


def as_text(image: Pillow.Image, width: int = WIDTH) -> Segments:
    """Return an image for rich to print, `width` characters wide."""
    height = max(2, round(image.height * width / image.width / 2) * 2)
    pixels = image.convert("RGB").resize((width, height), Pillow.Resampling.LANCZOS)
    segments = []
    for y in range(0, height, 2):
        segments += [Segment(UPPER_HALF, _style(pixels, x, y)) for x in range(width)]
        segments.append(Segment.line())
    return Segments(segments)


def _style(pixels: Pillow.Image, x: int, y: int) -> Style:
    upper, lower = (pixels.getpixel((x, row)) for row in (y, y + 1))
    assert isinstance(upper, tuple)
    assert isinstance(lower, tuple)
    return Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
