"""Results of earlier jobs as inputs: `ID`, or `ID/2` for the third result of a job of the caller's own.

An agent cannot repeat the base64 of an image that it was shown, and no address is ever followed. Named files have the
limits of uploads: number and bytes are checked here, pixels where they are decoded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from api.http.context import current_desk, current_storage
from core.errors import InvalidRequest
from core.generation.animation import VIDEOS
from core.generation.request import FILES
from gateway.media.encoding import VIDEO_FORMATS
from gateway.media.reading.decoding import check_count, most_files

VIDEO_TYPES = tuple(each.media_type for each in VIDEO_FORMATS)
_RESULT = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/(\d{1,3}))?")


async def with_results(arguments: Mapping[str, Any], max_bytes: int) -> dict[str, Any]:
    """Return a call's arguments with the files that they name, `max_bytes` in all.

    Raises UnknownJob and InvalidRequest.
    """
    resolved, named = dict(arguments), _Named(max_bytes)
    for name in (name for name in FILES if arguments.get(name) is not None):
        value = arguments[name]
        listed = value if isinstance(value, list) else [value]
        check_count(name, len(listed), most_files(name))
        resolved[name] = [await named.resolved(name, each) for each in listed]
    return resolved


class _Named:
    """The files that one call names."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = self._left_bytes = max_bytes

    async def resolved(self, field: str, value: Any) -> Any:
        """Return the file that a value names, or the value if it names none. Raises UnknownJob and InvalidRequest."""
        named = _RESULT.fullmatch(value.strip()) if isinstance(value, str) else None
        if named is None:
            return value
        job, index = await current_desk().get(named[1]), int(named[2] or 0)
        if index >= len(job.results):
            raise InvalidRequest(
                field, f"job {job.id} is {job.state} and has {len(job.results)} results, so there is no result {index}"
            )
        result = job.results[index]
        is_video = result.media_type in VIDEO_TYPES
        if not (is_video if field in VIDEOS else result.media_type.startswith("image/")):
            kind = "video" if field in VIDEOS else "image"
            raise InvalidRequest(field, f"result {index} of job {job.id} is {result.media_type}, not {kind}")
        file = await current_storage().get(result.key)
        self._left_bytes -= len(file)
        if self._left_bytes < 0:
            raise InvalidRequest(field, f"the results that are named have more than {self._max_bytes} bytes together")
        return file
