"""How much memory decoding an image file takes, judged by its header."""

from __future__ import annotations

from math import ceil

from PIL import Image, JpegImagePlugin, TiffImagePlugin

PIXEL_BYTES = 4
"""Pillow's colour images take four bytes a pixel, RGB included."""
STRIP_PX = 2**17
"""Pixels of a strip: small enough for the processor's cache, and for the allocator to reuse its memory."""
STRIP_BYTES = 2**22
"""Memory for the intermediate images of a strip."""
_WHOLE_FILE = {"WEBP": 16, "AVIF": 20}
"""Bytes a pixel of decoders that keep several copies of a frame; measured with Pillow 13."""
_COEFFICIENT_BYTES = 2
_ROWS_PER_STRIP, _TILE_WIDTH, _TILE_LENGTH = 278, 322, 323


def decoding_bytes(file: Image.Image, full_size: tuple[int, int]) -> int:
    """Return the peak bytes of loading a file; `full_size` is its size before `draft` reduced it."""
    full_px, loaded_px = full_size[0] * full_size[1], file.width * file.height
    loaded_bytes = loaded_px * PIXEL_BYTES
    if isinstance(file, JpegImagePlugin.JpegImageFile):
        return loaded_bytes + (_coefficient_bytes(file, full_px) if file.info.get("progressive") else 0)
    if isinstance(file, TiffImagePlugin.TiffImageFile):
        # The decoder turns a rotated file upright by making a second image.
        turned_bytes = loaded_bytes if file.tag_v2.get(274, 1) != 1 else 0
        return loaded_bytes + max(turned_bytes, _strip_bytes(file))
    if file.format == "HEIF":
        return full_px * _heif_pixel_bytes(file)
    return full_px * _WHOLE_FILE.get(file.format or "", PIXEL_BYTES)


def _heif_pixel_bytes(file: Image.Image) -> int:
    """Bytes a pixel of the decoder's planes, libheif's conversion of them, and Pillow's image."""
    bands = len(file.getbands())
    planes = {420: 1.5, 422: 2}.get(file.info.get("chroma", 0), 3) + bands - 3
    sample_bytes = 2 if file.info.get("bit_depth", 8) > 8 else 1
    return ceil(planes * sample_bytes + bands) + PIXEL_BYTES


def _coefficient_bytes(file: JpegImagePlugin.JpegImageFile, full_px: int) -> int:
    """Return the bytes of a progressive file's coefficients, which are all kept until it is decoded."""
    most = max(h for _, h, _, _ in file.layer) * max(v for _, _, v, _ in file.layer)
    return sum(full_px * h * v // most for _, h, v, _ in file.layer) * _COEFFICIENT_BYTES


def _strip_bytes(file: TiffImagePlugin.TiffImageFile) -> int:
    """Return the bytes of one strip or tile of a TIFF, as stored in the file."""
    tags = file.tag_v2
    bits = sum(tags.get(258, (8,))) or 8
    width = tags.get(_TILE_WIDTH, file.width)
    rows = min(tags.get(_TILE_LENGTH, tags.get(_ROWS_PER_STRIP, file.height)), max(file.size))
    return int(width * rows * max(bits // 8, PIXEL_BYTES))
