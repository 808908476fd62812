"""The parameters in a file, from which it can be drawn again."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

NAMES = ("jubako", "parameters")
"""The texts that may have our parameters; the first exists only if A1111's text has the other's place."""
UNICODE = b"UNICODE\x00"
HIDDEN = {"output_format", "quality", "fit"}


def parameters_of(file: Path) -> dict[str, Any] | None:
    """Return the parameters of an image of ours; None for any other file."""
    try:
        with Image.open(file) as image:
            exif = image.getexif()
            comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
            texts = [*(image.info.get(name) for name in NAMES), exif.get(ExifTags.Base.ImageDescription)]
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return None
    if isinstance(comment, bytes) and comment.startswith(UNICODE):
        texts.append(comment.removeprefix(UNICODE).decode("utf-16-be", "replace"))
    return next((found for text in texts if isinstance(text, str) and (found := _parsed(text))), None)


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) and isinstance(found.get("prompt"), str) else None


def table(parameters: dict[str, Any]) -> str:
    """Return parameters as HTML, the prompt first."""
    rows = "".join(
        f"<dt>{escape(name.replace('_', ' '))}</dt><dd>{escape(_said(value))}</dd>"
        for name, value in sorted(parameters.items(), key=lambda item: item[0] != "prompt")
        if value not in (None, "", []) and name not in HIDDEN
    )
    return f'<dl class="parameters">{rows}</dl>'


def _said(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
