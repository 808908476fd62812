"""The parameters that results carry, read as a user's program would."""

from __future__ import annotations

import json
from io import BytesIO
from typing import Any

import av
from PIL import ExifTags, Image

_COMMENT_PREFIX = b"UNICODE\x00"


def read_parameters(image: Image.Image) -> dict[str, Any]:
    """Return the parameters in an opened image or GIF. Raises ValueError if there are none."""
    chunks = getattr(image, "text", {})
    text = chunks.get("jubako") or chunks.get("parameters") or _gif_comment(image) or _exif_text(image)
    if text is None:
        raise ValueError("the image carries no parameters")
    parameters: dict[str, Any] = json.loads(text)
    return parameters


def read_comment(data: bytes) -> str | None:
    """Return the comment of an MP4 or WebM file; None if it has none."""
    with av.open(BytesIO(data), "r") as container:
        return container.metadata.get("comment") or container.metadata.get("COMMENT")


def _exif_text(image: Image.Image) -> str | None:
    description: str | None = image.getexif().get(ExifTags.Base.ImageDescription)
    return description or user_comment(image)


def user_comment(image: Image.Image) -> str | None:
    """Return the text that JPEG and WebP files have for programs."""
    comment = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if not isinstance(comment, bytes) or not comment.startswith(_COMMENT_PREFIX):
        return None
    return comment.removeprefix(_COMMENT_PREFIX).decode("utf-16-be")


def _gif_comment(image: Image.Image) -> str | None:
    comment = image.info.get("comment") if image.format == "GIF" else None
    return comment.decode() if isinstance(comment, bytes) else None
