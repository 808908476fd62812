"""Images as OpenAI's JSON refers to them: `{"image_url": "data:..."}`, or by file ids, which are not supported."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core.errors import InvalidRequest

FIELDS = ("image", "images", "mask", "input_reference")
_IN_A_FORM = re.compile(r"(\w+)\[(image_url|file_id)\]")
"""How OpenAI's clients write such a reference in a form."""


def without_references(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with each reference replaced by its data URL. Raises InvalidRequest, which names the reference."""
    return {name: _resolved(name, value) if name in FIELDS else value for name, value in _gathered(fields).items()}


def _gathered(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the parts of each reference, which forms send separately, joined to one object."""
    parts = {name: match for name in fields if (match := _IN_A_FORM.fullmatch(name)) and match[1] in FIELDS}
    whole = {name: value for name, value in fields.items() if name not in parts}
    return whole | {match[1]: {match[2]: fields[name]} for name, match in parts.items()}


def _resolved(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [data_url(f"{name}[{index}]", item) for index, item in enumerate(value)]
    return data_url(name, value)


def data_url(place: str, value: Any) -> Any:
    """Return the data URL of a reference, or the value if it is no reference. Raises InvalidRequest."""
    if not isinstance(value, dict):
        return value
    if value.get("file_id") is not None:
        raise InvalidRequest(f"{place}.file_id", "is not supported: no files are kept here; send the image itself")
    url = value.get("image_url")
    if not isinstance(url, str) or not url.startswith("data:"):
        reason = "must be a URL with the image in it, data:image/png;base64,...; other addresses are not followed"
        raise InvalidRequest(f"{place}.image_url", reason)
    return url
