"""How OpenAPI describes the bodies that routes read themselves."""

from __future__ import annotations

from typing import Any

JSON = "application/json"
MULTIPART = "multipart/form-data"


def described_body(schema: dict[str, Any], *media_types: str) -> dict[str, Any]:
    """Return the part of a route's OpenAPI description that describes its body, by pydantic's `schema` of it."""
    plain = _inlined({name: part for name, part in schema.items() if name != "$defs"}, schema.get("$defs", {}))
    return {"requestBody": {"required": True, "content": {media: {"schema": plain} for media in media_types}}}


def _inlined(part: Any, definitions: dict[str, Any]) -> Any:
    """Replace references, which inside a larger document would lead nowhere."""
    if isinstance(part, list):
        return [_inlined(item, definitions) for item in part]
    if not isinstance(part, dict):
        return part
    own = {name: _inlined(value, definitions) for name, value in part.items() if name != "$ref"}
    if "$ref" not in part:
        return own
    return {**_inlined(definitions[part["$ref"].rpartition("/")[2]], definitions), **own}
