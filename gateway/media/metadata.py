"""Metadata of image files: our parameters, or A1111's text in that place and ours beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from core.generation.infotext import infotext
from core.generation.tuning import PROMPTS
from settings import settings

OWN_CHUNK = "jubako"
"""The PNG chunk for our parameters when `parameters` has A1111's text."""
_COMMENT_PREFIX = b"UNICODE\x00"
_MAX_COMMENT_BYTES = 65_000
"""JPEG has 64 KB for its EXIF block."""


class Metadata(StrEnum):
    """Whose format images' metadata has where programs look for it."""

    JUBAKO = "jubako"
    A1111 = "a1111"

    @classmethod
    def usual(cls) -> Metadata:
        """Return the operator's choice."""
        return cls(settings().image_metadata)


def png_text(parameters: Mapping[str, Any], metadata: Metadata) -> PngInfo:
    text = PngInfo()
    if metadata is Metadata.A1111:
        text.add_text("parameters", infotext(parameters))
        text.add_itxt(OWN_CHUNK, json.dumps(parameters, ensure_ascii=False))
    else:
        text.add_itxt("parameters", json.dumps(parameters, ensure_ascii=False))
    text.add_text("Software", "Jubako")
    return text


def fitting(parameters: Mapping[str, Any], metadata: Metadata) -> Mapping[str, Any]:
    """Return the parameters with prompts cut off where they are too long for an EXIF block."""
    cut = dict(parameters)
    while sum(map(len, _exif_texts(cut, metadata))) > _MAX_COMMENT_BYTES:
        longest = max(PROMPTS, key=lambda name: len(cut.get(name, "")))
        cut[longest] = cut[longest][: len(cut[longest]) * 3 // 4]
    return cut


def _exif_texts(parameters: Mapping[str, Any], metadata: Metadata) -> tuple[bytes, bytes]:
    """Return the EXIF comment, and the description, which must be ASCII."""
    if metadata is Metadata.A1111:
        return infotext(parameters).encode("utf-16-be"), json.dumps(parameters).encode()
    return json.dumps(parameters, ensure_ascii=False).encode("utf-16-be"), b""


def exif_of(parameters: Mapping[str, Any], metadata: Metadata) -> Image.Exif:
    comment, description = _exif_texts(parameters, metadata)
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = "Jubako"
    if description:
        exif[ExifTags.Base.ImageDescription] = description.decode()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _COMMENT_PREFIX + comment
    return exif
