"""Images as OpenAI's JSON refers to them: `{"image_url": "data:..."}`, or by names that lead nowhere here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import InvalidRequest

FIELDS = ("image", "images", "mask")


def without_references(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with each reference replaced by its data URL. Raises InvalidRequest, which names the reference."""
    return {name: _resolved(name, value) if name in FIELDS else value for name, value in fields.items()}


def _resolved(name: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_data_url(f"{name}[{index}]", item) for index, item in enumerate(value)]
    return _data_url(name, value)


def _data_url(place: str, value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if value.get("file_id") is not None:
        raise InvalidRequest(f"{place}.file_id", "is not supported: no files are kept here; send the image itself")
    url = value.get("image_url")
    if not isinstance(url, str) or not url.startswith("data:"):
        reason = "must be a URL with the image in it, data:image/png;base64,...; other addresses are not followed"
        raise InvalidRequest(f"{place}.image_url", reason)
    return url
