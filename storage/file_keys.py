"""Names of files in storage: `generations/` is for anyone who knows a name, `inputs/` for the server alone.

A name is as hard to guess as the session id in it (uuid4). It follows from the job, so a repeated job overwrites its
own results.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import PurePosixPath

RESULTS = "generations"
INPUTS = "inputs"
CACHE_CONTROL = "private, max-age=31536000, immutable"
"""A name is never reused for other content, so a fetched result need not be revalidated."""

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
    """Return the name of a job's result; `index`, from 0, distinguishes several results of one job."""
    suffix = "" if index is None else f"_{index}"
    return f"{RESULTS}/{accepted:%Y%m%d_%H%M%S}_{session_id}{suffix}.{EXTENSIONS[media_type]}"


def input_key(session_id: str, field: str, media_type: str) -> str:
    """Return the name of a job's input in a field such as `image` or `references_1`."""
    return f"{INPUTS}/{session_id}_{field}.{EXTENSIONS[media_type]}"


def media_type_of(key: str) -> str:
    """Return the media type of a name; `application/octet-stream` for an unknown extension."""
    return _MEDIA_TYPES.get(PurePosixPath(key).suffix.removeprefix("."), "application/octet-stream")
