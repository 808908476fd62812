"""Texts in image files: the chunks of PNG, the EXIF comment and description of JPEG and WebP."""

from __future__ import annotations

from PIL import ExifTags, Image

from gateway.media.reading.decoding import check_header, opened
from gateway.media.reading.png_files import without_bad_metadata

PARAMETERS = "parameters"
_CODES = {b"UNICODE\x00": "utf-16-be", b"ASCII\x00\x00\x00": "ascii"}


def texts_of(data: bytes, field: str, max_px: int) -> dict[str, str]:
    """Return the texts of a file by name, with the EXIF comment as `parameters`. Blocks.

    Raises InvalidRequest when it is no image, or has more than `max_px` pixels.
    """
    with opened(without_bad_metadata(data), field, max_px) as file:
        check_header(file, field, max_px)
        texts = {str(name): str(text) for name, text in file.info.items() if isinstance(text, str)}
        return {**_exif_texts(file), **texts}


def _exif_texts(file: Image.Image) -> dict[str, str]:
    exif = file.getexif()
    found = {
        PARAMETERS: _comment(exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)),
        "description": exif.get(ExifTags.Base.ImageDescription),
    }
    return {name: text for name, text in found.items() if isinstance(text, str) and text}


def _comment(comment: object) -> str | None:
    if not isinstance(comment, bytes):
        return None
    encoding = _CODES.get(comment[:8])
    return None if encoding is None else comment[8:].decode(encoding, errors="replace").rstrip("\x00")
