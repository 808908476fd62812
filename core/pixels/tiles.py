"""An image as tiles that overlap, and one image again of what they became. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from core.pixels.fitting import Size

TILE_PX = 256
"""Side of the tiles of all images that are larger, so that several callers' tiles share a pass."""
TILES_A_PASS = 4
"""At most: large models take up to a gigabyte of memory for each."""
OVERLAP_PX = 32
"""At least so much of a tile is in its neighbour too. A model sees nothing beyond a tile's edge, so of what two share
the outer quarters are one tile's alone, and between them one becomes the other.
"""


@dataclass(frozen=True)
class Stretch:
    """What a tile covers along one axis, and how much of it is the previous tile's too."""

    start: int
    length: int
    shared: int = 0

    def shares(self, factor: int) -> list[float]:
        """Return how much the tile counts at each pixel of the axis, upscaled, over what the tiles before it show."""
        shared, quarter = self.shared * factor, self.shared * factor / 4
        # In the middle of each pixel.
        rising = [max(0.0, min(1.0, (at + 0.5 - quarter) / (shared - 2 * quarter))) for at in range(shared)]
        return rising + [1.0] * (self.length * factor - shared)


@dataclass(frozen=True)
class Row:
    """Tiles side by side.

    Rows are put together before they are laid over one another: blended each by itself, the edges of four tiles that
    meet would show through.
    """

    down: Stretch
    columns: tuple[Stretch, ...]

    def of(self, image: Image.Image) -> list[Image.Image]:
        """Return the tiles of an image; all rows' have one size."""
        top, bottom = self.down.start, self.down.start + self.down.length
        return [image.crop((each.start, top, each.start + each.length, bottom)) for each in self.columns]

    def put(self, canvas: Image.Image, upscaled: Sequence[Image.Image], factor: int) -> None:
        """Put what the tiles became into the canvas, over the rows that `rows` yields before it."""
        whole = Image.new("RGB", (canvas.width, self.down.length * factor))
        for column, image in zip(self.columns, upscaled, strict=True):
            whole.paste(image, (column.start * factor, 0), _ramp(column, factor).resize(image.size))
        mask = _ramp(self.down, factor).transpose(Image.Transpose.ROTATE_270).resize(whole.size)
        canvas.paste(whole, (0, self.down.start * factor), mask)


def rows(size: Size) -> Iterator[Row]:
    """Yield the rows of an image's tiles, from the top."""
    columns = tuple(_stretches(size[0]))
    return (Row(down, columns) for down in _stretches(size[1]))


def _stretches(side: int) -> Iterator[Stretch]:
    length = min(side, TILE_PX)
    gaps = -(-(side - length) // (TILE_PX - OVERLAP_PX))
    starts = [0, *(round(number * (side - length) / gaps) for number in range(1, gaps + 1))]
    yield Stretch(0, length)
    for before, start in pairwise(starts):
        yield Stretch(start, length, before + length - start)


def _ramp(stretch: Stretch, factor: int) -> Image.Image:
    """Return how much a tile counts along one axis, 0 to 255, as an image of one row."""
    shares = stretch.shares(factor)
    return Image.frombytes("L", (len(shares), 1), bytes(round(255 * share) for share in shares))
