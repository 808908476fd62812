"""How things in storage are named: `generations/` is for everybody who knows a name, `inputs/` for the server alone.

A name is as hard to guess as the session id in it (uuid4), and follows from the job, so that a job that is done
a second time replaces its own results.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

RESULTS = "generations"
INPUTS = "inputs"
CACHE_CONTROL = "private, max-age=31536000, immutable"
"""A name is never used for other content, so whoever has fetched a result need not ask again."""

EXTENSIONS = {
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/webp": "webp",
    "image/gif": "gif",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "application/json": "json",
}
_MEDIA_TYPES = {extension: media_type for media_type, extension in EXTENSIONS.items()}


def result_key(session_id: str, accepted: datetime, media_type: str, index: int | None = None) -> str:
    """Return the name of a job's result; `index`, from 0, tells several of one job apart."""
    suffix = "" if index is None else f"_{index}"
    return f"{RESULTS}/{accepted:%Y%m%d_%H%M%S}_{session_id}{suffix}.{EXTENSIONS[media_type]}"


def input_key(session_id: str, field: str, media_type: str) -> str:
    """Return the name of what a job was given in a field, such as `image` or `references_1`."""
    return f"{INPUTS}/{session_id}_{field}.{EXTENSIONS[media_type]}"


def media_type_of(key: str) -> str:
    """Return the media type that a name stands for; bytes without a meaning when it is none of ours."""
    return _MEDIA_TYPES.get(PurePosixPath(key).suffix.removeprefix("."), "application/octet-stream")
