"""Large images strip by strip: each strip is turned upright and converted on its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from PIL import ExifTags, Image

from gateway.media.reading.costs import STRIP_PX

Box = tuple[int, int, int, int]
"""Left, top, right, bottom, in pixels."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Transposition by EXIF orientation, as in Pillow's `exif_transpose`."""
_ON_ITS_SIDE = (5, 6, 7, 8)


def upright_size(file: Image.Image, size: tuple[int, int]) -> tuple[int, int]:
    """Return the stored size turned upright, for a loaded file: some formats are turned while they load."""
    return size[::-1] if _orientation(file) in _ON_ITS_SIDE else size


def strips(file: Image.Image, multiple_px: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield the upright strips of a loaded file, each after its top row; heights are multiples of `multiple_px`."""
    width, height = upright_size(file, file.size)
    rows = max(multiple_px, STRIP_PX // width // multiple_px * multiple_px)
    turn = _UPRIGHT.get(_orientation(file))
    for top in range(0, height, rows):
        part = file.crop(_stored(file, (0, top, width, min(top + rows, height))))
        yield top, part if turn is None else part.transpose(turn)


def reduced(
    file: Image.Image, factors: tuple[int, int], mode: str, convert: Callable[[Image.Image], Image.Image]
) -> Image.Image:
    """Return a loaded file upright and converted to `mode`, its sides divided by `factors`.

    Where a factor does not divide a side, the last pixels cover less of the file than the others.
    """
    (width, height), (across, down) = upright_size(file, file.size), factors
    image = Image.new(mode, (-(-width // across), -(-height // down)))
    for top, part in strips(file, down):
        converted = convert(part)
        image.paste(converted if factors == (1, 1) else converted.reduce(factors), (0, top // down))
    return image


def _orientation(file: Image.Image) -> int:
    try:
        orientation: int = file.getexif().get(ExifTags.Base.Orientation, 1)
    # Damaged metadata can raise any error, and must not keep the image from being read.
    except Exception:  # noqa: BLE001
        return 1
    return orientation


def _stored(file: Image.Image, box: Box) -> Box:
    """Return where a box of the upright image lies in the stored one."""
    width, height = file.size
    (x0, y0), (x1, y1) = (_stored_point(_orientation(file), width, height, *box[at : at + 2]) for at in (0, 2))
    return min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)


def _stored_point(orientation: int, width: int, height: int, x: int, y: int) -> tuple[int, int]:
    return {
        2: (width - x, y),
        3: (width - x, height - y),
        4: (x, height - y),
        5: (y, x),
        6: (y, height - x),
        7: (width - y, height - x),
        8: (width - y, x),
    }.get(orientation, (x, y))
