"""How messages say things: lists of names shortened, and no more of this machine than may be shown outside of it."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FOLDERS = re.compile(r"""(?<![\w:/.~-])(?:file://)?~?/(?:[^/\s'"()\[\]{},;:]+/)*(?=[^/\s'"()\[\]{},;:])""")
"""What is before the last part of an absolute path; https://a/b, a repository a/b and media types are no such paths."""


NAMED = 3


def some(names: Sequence[str]) -> str:
    """Name the first few of many, and say how many there are besides."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def without_folders(text: str) -> str:
    """Return a text whose absolute paths begin with `.../`, and say no more than the name of a file or folder."""
    return _FOLDERS.sub(".../", text)
