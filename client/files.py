"""Reads images from whatever form a program has them in."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path
from typing import IO

from PIL import Image

FileSource = str | os.PathLike[str] | bytes | IO[bytes]
"""A file's path, its bytes, or an open file (such as Django's)."""
ImageSource = FileSource | Image.Image
"""The same, or a Pillow image."""


def read_image(source: ImageSource) -> bytes:
    """Return the bytes of an image file."""
    if isinstance(source, bytes):
        return source
    if isinstance(source, Image.Image):
        buffer = BytesIO()
        source.save(buffer, "PNG")
        return buffer.getvalue()
    if isinstance(source, str | os.PathLike):
        return Path(source).read_bytes()
    return source.read()
