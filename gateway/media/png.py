"""PNG files of images that are never there as a whole."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

COMPRESS_LEVEL = 4
SIGNATURE = b"\x89PNG\r\n\x1a\n"
_EIGHT_BIT_RGB = (8, 2, 0, 0, 0)
_LEFT_NEIGHBOUR = 1
"""The filter of every row: each byte less that of the pixel before."""


def png_of_strips(size: tuple[int, int], strips: Iterable[Image.Image], metadata: PngInfo) -> bytes:
    """Write an RGB image that comes as strips from top to bottom."""
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", *size, *_EIGHT_BIT_RGB))
    texts = (_chunk(each[0], each[1]) for each in metadata.chunks)
    pixels = (_chunk(b"IDAT", data) for data in _compressed(strips))
    return b"".join((SIGNATURE, header, *texts, *pixels, _chunk(b"IEND", b"")))


def _compressed(strips: Iterable[Image.Image]) -> Iterator[bytes]:
    compressor = zlib.compressobj(COMPRESS_LEVEL)
    for strip in strips:
        yield compressor.compress(_filtered(strip))
    yield compressor.flush()


def _filtered(strip: Image.Image) -> bytes:
    rows = np.asarray(strip)  # (h, w, 3)
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    filters = np.full((len(rows), 1), _LEFT_NEIGHBOUR, np.uint8)
    return np.hstack((filters, differences.reshape(len(rows), -1))).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
