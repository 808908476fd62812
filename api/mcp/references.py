"""Results of earlier jobs as inputs: `ID`, or `ID/2` for the third result of a job of the caller's own.

An agent cannot repeat the base64 of an image that it was shown, and no address is ever followed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any

from api.http.context import current_desk, current_storage
from api.http.forms import FILES
from core.errors import InvalidRequest

_RESULT = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})(?:/(\d{1,3}))?")


async def with_results(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with the files that they name. Raises UnknownJob and InvalidRequest."""
    resolved = dict(arguments)
    for name in FILES:
        if isinstance(value := arguments.get(name), list):
            resolved[name] = [await _resolved(name, each) for each in value]
        elif value is not None:
            resolved[name] = await _resolved(name, value)
    return resolved


async def _resolved(name: str, value: Any) -> Any:
    if not isinstance(value, str) or not (named := _RESULT.fullmatch(value.strip())):
        return value
    job, index = await current_desk().get(named[1]), int(named[2] or 0)
    if index >= len(job.results):
        raise InvalidRequest(
            name, f"job {job.id} is {job.state} and has {len(job.results)} results, none of them {index}"
        )
    return base64.b64encode(await current_storage().get(job.results[index].key)).decode()
