"""Base64 as clients write it: plain or as a data URL, in one line or many, in either alphabet, padded or not."""

from __future__ import annotations

import base64
from urllib.parse import unquote

# A space stands for a plus that a form did not escape.
_PLAIN = str.maketrans("-_ ", "+/+", "\r\n\t")


def decoded_base64(text: str) -> bytes:
    """Return the bytes. Raises ValueError for other text."""
    text = text.strip()
    if text[:5].lower() == "data:":
        text = text.partition(",")[2]
    plain = unquote(text).strip().translate(_PLAIN).rstrip("=")
    return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
