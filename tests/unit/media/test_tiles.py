"""Tiles of images: they cover everything, have one size, and what they become has no seams."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from PIL import Image, ImageChops, ImageDraw

from core.generation.upscaling import UpscaleFactor
from core.pixels.fitting import Size
from core.pixels.tiles import OVERLAP_PX, TILE_PX, rows
from runners.upscaling.wire import AskedTile, decode_tile, decode_upscaled, encode_tile

SIZES = [(1, 1), (64, 256), (257, 300), (1000, 480), (700, 256)]


def noise(seed: int, size: Size = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def squares(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def put_together(image: Image.Image, factor: int, shift: int = 0) -> Image.Image:
    """Upscale tiles so that a pixel becomes a square; every other one of a row is brighter by `shift`."""
    canvas = Image.new("RGB", (image.width * factor, image.height * factor))
    for row in rows(image.size):
        parts = [squares(tile, factor) for tile in row.of(image)]
        brighter = [part.point(lambda value, by=shift * (n % 2): value + by) for n, part in enumerate(parts)]
        row.put(canvas, brighter, factor)
    return canvas


@pytest.mark.parametrize("size", SIZES)
def test_all_have_one_size_and_share_enough(size: Size) -> None:
    found, image = list(rows(size)), Image.new("RGB", size)
    assert {tile.size for row in found for tile in row.of(image)} == {(min(size[0], TILE_PX), min(size[1], TILE_PX))}
    stretches = [*found[0].columns, *(row.down for row in found)]
    assert all(OVERLAP_PX <= each.shared < TILE_PX for each in stretches if each.start)
    right, bottom = found[0].columns[-1], found[-1].down
    assert (right.start + right.length, bottom.start + bottom.length) == size


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("factor", [2, 4])
def test_they_are_the_image_again(size: Size, factor: int) -> None:
    image = noise(1, size)
    assert ImageChops.difference(put_together(image, factor), squares(image, factor)).getbbox() is None


def test_where_two_differ_there_is_no_edge() -> None:
    """Two tiles of shades 20 apart: from pixel to pixel, the result changes by no more than a shade or two."""
    shown = put_together(Image.new("RGB", (TILE_PX + 200, 64), "#404040"), 4, shift=20).getchannel(0)
    shades = list(shown.crop((0, 100, shown.width, 101)).tobytes())
    assert (shades[0], shades[-1]) == (64, 84)
    assert max(abs(one - other) for one, other in pairwise(shades)) <= 2


def test_what_a_tile_cannot_see_beyond_its_edge_is_not_shown() -> None:
    """A black frame of seven pixels around each tile is gone where another tile shows the same."""
    canvas, image = Image.new("RGB", (700, 500)), Image.new("RGB", (700, 500), "white")
    for row in rows(image.size):
        parts = row.of(image)
        for part in parts:
            ImageDraw.Draw(part).rectangle((0, 0, part.width - 1, part.height - 1), outline="black", width=7)
        row.put(canvas, parts, 1)
    assert canvas.crop((7, 7, 693, 493)).getextrema() == ((255, 255),) * 3


class TestTheHop:
    TILE = AskedTile(noise(2), UpscaleFactor.FOUR)

    def test_a_tile_survives_it(self) -> None:
        tile = decode_tile(encode_tile(self.TILE))
        assert (tile.image.tobytes(), tile.image.size, tile.factor) == (
            self.TILE.image.tobytes(),
            self.TILE.image.size,
            4,
        )

    def test_so_does_what_it_becomes(self) -> None:
        width, height = (4 * side for side in self.TILE.image.size)
        assert decode_upscaled(bytes(3 * width * height), self.TILE).size == (width, height)
        with pytest.raises(ValueError, match="not enough image data"):
            decode_upscaled(b"short", self.TILE)

    @pytest.mark.parametrize(
        "frame",
        [
            b"",
            b"{}\n",
            b'{"width": 300, "height": 1, "factor": 2}\n' + bytes(900),
            b'{"width": 1, "height": 1, "factor": 3}\nabc',
        ],
    )
    def test_nothing_else_does(self, frame: bytes) -> None:
        with pytest.raises(ValueError, match="validation error"):
            decode_tile(frame)

    def test_pixels_that_are_not_there_are_missed(self) -> None:
        with pytest.raises(ValueError, match="claims"):
            decode_tile(encode_tile(self.TILE)[:-1])
