"""Wording of messages: long lists of names are shortened, and paths on this machine are hidden."""

from __future__ import annotations

import re
from collections.abc import Sequence

_FOLDERS = re.compile(r"""(?<![\w:/.~-])(?:file://)?~?/(?:[^/\s'"()\[\]{},;:]+/)*(?=[^/\s'"()\[\]{},;:])""")
"""The folders of an absolute path; https://a/b, a repository a/b and media types are not matched."""


NAMED = 3


def some(names: Sequence[str]) -> str:
    """Name the first few of many, and say how many there are besides."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")


def without_folders(text: str) -> str:
    """Return a text with the folders of absolute paths replaced by `.../`, so that only the last name is left."""
    return _FOLDERS.sub(".../", text)
