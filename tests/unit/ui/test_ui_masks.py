"""What is painted on the page `/ui`, as the masks that the API takes."""

from __future__ import annotations

import pytest
from PIL import Image

from ui.request.masks import extended, painted

SIZE = (64, 48)


def stroke(opacity: int, box: tuple[int, int, int, int]) -> Image.Image:
    layer = Image.new("RGBA", SIZE)
    layer.paste((200, 80, 50, opacity), box)
    return layer


def test_all_layers_count() -> None:
    mask = painted([stroke(255, (0, 0, 8, 8)), stroke(255, (40, 30, 64, 48))], SIZE)
    assert mask.getbbox() == (0, 0, 64, 48)
    assert (mask.getpixel((4, 4)), mask.getpixel((20, 20)), mask.getpixel((50, 40))) == (255, 0, 255)


@pytest.mark.parametrize(("opacity", "expected"), [(127, 0), (128, 255)])
def test_soft_edges_are_painted_or_not(opacity: int, expected: int) -> None:
    assert painted([stroke(opacity, (0, 0, 64, 48))], SIZE).getextrema() == (expected, expected)


def test_an_image_is_extended_by_what_is_to_be_painted() -> None:
    image = Image.linear_gradient("L").resize(SIZE).convert("RGB")
    wide, mask = extended(image, Image.new("L", SIZE), (16, 0, 32, 8))
    assert wide.size == mask.size == (64 + 16 + 32, 48 + 8)
    inside = (16, 0, 16 + 64, 48)
    assert wide.crop(inside).tobytes() == image.tobytes(), "the image itself is kept"
    assert mask.crop(inside).getextrema() == (0, 0)
    assert mask.getpixel((0, 0)) == mask.getpixel((111, 55)) == 255


def test_no_borders_change_nothing() -> None:
    image, mask = Image.new("RGB", SIZE), Image.new("L", SIZE)
    assert extended(image, mask, (0, 0, 0, 0)) == (image, mask)
