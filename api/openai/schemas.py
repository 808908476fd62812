"""What the OpenAPI description says about bodies, which the routes read themselves."""

from __future__ import annotations

from typing import Any

from api.openai.forms import ImagesForm


def body_of(form: type[ImagesForm], *media_types: str) -> dict[str, Any]:
    """Return the part of a route's description that tells of its body."""
    schema = form.model_json_schema()
    schema = _inlined({name: part for name, part in schema.items() if name != "$defs"}, schema.get("$defs", {}))
    return {"requestBody": {"required": True, "content": {media: {"schema": schema} for media in media_types}}}


def _inlined(node: Any, definitions: dict[str, Any]) -> Any:
    """Replace references: inside of a larger document they would lead nowhere."""
    if isinstance(node, list):
        return [_inlined(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    own = {name: _inlined(part, definitions) for name, part in node.items() if name != "$ref"}
    if "$ref" not in node:
        return own
    return {**_inlined(definitions[node["$ref"].rpartition("/")[2]], definitions), **own}
