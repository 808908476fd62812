"""What may be shown of a text to somebody outside of this machine."""

from __future__ import annotations

import re

_FOLDERS = re.compile(r"""(?<![\w:/.~-])(?:file://)?~?/(?:[^/\s'"()\[\]{},;:]+/)*(?=[^/\s'"()\[\]{},;:])""")
"""What is before the last part of an absolute path; https://a/b, a repository a/b and media types are no such paths."""


def without_folders(text: str) -> str:
    """Return a text whose absolute paths begin with `.../`, and say no more than the name of a file or folder."""
    return _FOLDERS.sub(".../", text)
