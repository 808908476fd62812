"""Cut an image into overlapping tiles, and blend the upscaled tiles into one image. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PIL import Image

from core.pixels.fitting import Size

TILE_PX = 256
"""The side of tiles, the same for all images that are at least this large, so that callers' tiles share passes."""
TILES_A_PASS = 4
"""The most tiles in one pass: large models take up to a gigabyte of memory for each."""
OVERLAP_PX = 32
"""The least overlap of neighbouring tiles. A model sees nothing beyond a tile's edge, so in the overlap each tile's
own outermost quarter is not used; between the two quarters, the tiles are blended.
"""


@dataclass(frozen=True)
class Stretch:
    """What a tile covers along one axis, and how much of that overlaps the previous tile."""

    start: int
    length: int
    shared: int = 0

    def shares(self, factor: int) -> list[float]:
        """Return the tile's opacity over the tiles before it, 0 to 1, at each upscaled pixel of the axis."""
        shared, quarter = self.shared * factor, self.shared * factor / 4
        # Sampled at the middle of each pixel.
        rising = [max(0.0, min(1.0, (at + 0.5 - quarter) / (shared - 2 * quarter))) for at in range(shared)]
        return rising + [1.0] * (self.length * factor - shared)


@dataclass(frozen=True)
class TileRow:
    """Tiles side by side.

    The tiles of a row are blended first, then the rows: blended one by one, the edges would show where four tiles meet.
    """

    down: Stretch
    columns: tuple[Stretch, ...]

    def of(self, image: Image.Image) -> list[Image.Image]:
        """Return this row's tiles of an image; all tiles of all rows have one size."""
        top, bottom = self.down.start, self.down.start + self.down.length
        return [image.crop((each.start, top, each.start + each.length, bottom)) for each in self.columns]

    def put(self, canvas: Image.Image, upscaled: Sequence[Image.Image], factor: int) -> None:
        """Blend the row's upscaled tiles into the canvas, over the rows above, which must be there already."""
        whole = Image.new("RGB", (canvas.width, self.down.length * factor))
        for column, image in zip(self.columns, upscaled, strict=True):
            whole.paste(image, (column.start * factor, 0), _ramp(column, factor).resize(image.size))
        mask = _ramp(self.down, factor).transpose(Image.Transpose.ROTATE_270).resize(whole.size)
        canvas.paste(whole, (0, self.down.start * factor), mask)


def rows(size: Size) -> Iterator[TileRow]:
    """Yield the rows of an image's tiles, from the top."""
    columns = tuple(_stretches(size[0]))
    return (TileRow(down, columns) for down in _stretches(size[1]))


def _stretches(side: int) -> Iterator[Stretch]:
    length = min(side, TILE_PX)
    gaps = -(-(side - length) // (TILE_PX - OVERLAP_PX))
    starts = [0, *(round(number * (side - length) / gaps) for number in range(1, gaps + 1))]
    yield Stretch(0, length)
    for before, start in pairwise(starts):
        yield Stretch(start, length, before + length - start)


def _ramp(stretch: Stretch, factor: int) -> Image.Image:
    """Return a tile's opacity along one axis, 0 to 255, as an image of one row."""
    shares = stretch.shares(factor)
    return Image.frombytes("L", (len(shares), 1), bytes(round(255 * share) for share in shares))
