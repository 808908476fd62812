"""How OpenAPI describes the bodies that routes read themselves: as JSON, as a form, or both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from core.generation.request import Task

JSON = "application/json"
MULTIPART = "multipart/form-data"
REF = "#/components/schemas/{model}"
TASK = "x-task"
"""Where an operation keeps its task until the description is finished (`api.openapi_description.served_limits`)."""
FILE = {"type": "string", "format": "binary"}
_NULL = {"type": "null"}
_BASE64 = {"type": "string", "contentEncoding": "base64"}


class _Schema(GenerateJsonSchema):
    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:  # noqa: ARG002  # an override
        """Describe images, which pydantic does not know."""
        return dict(FILE)


def json_schema(form: type[BaseModel]) -> dict[str, Any]:
    """Return the self-contained schema of a JSON body; files are base64."""
    schema = form.model_json_schema(schema_generator=_Schema)
    return {**schema, "properties": _with_files(schema["properties"], _BASE64)}


def described_body(
    form: type[BaseModel],
    *media_types: str,
    name: str,
    task: Task | None = None,
    required: bool = True,
    **example: Any,
) -> dict[str, Any]:
    """Return the part of an operation's description that is about its body; `example` has fields of a JSON body.

    The schemas are titled `NAMERequest` for JSON and `NAMEForm` for forms, and become components of these names.
    """
    schema = form.model_json_schema(schema_generator=_Schema, ref_template=REF)
    content = {media: _media(schema, media, name, example) for media in media_types}
    return {"requestBody": {"required": required, "content": content}, TASK: task}


def _media(schema: Mapping[str, Any], media_type: str, name: str, example: Mapping[str, Any]) -> dict[str, Any]:
    as_form = media_type == MULTIPART
    definitions = schema.get("$defs", {})
    fields = {field: _without_default(_untitled(part)) for field, part in schema["properties"].items()}
    if as_form:
        fields = {field: _form_field(part, definitions) for field, part in fields.items()}
    properties = {field: _with_files(part, FILE if as_form else _BASE64) for field, part in fields.items()}
    described = {**schema, "title": f"{name}Form" if as_form else f"{name}Request", "properties": properties}
    return {"schema": described} if as_form or not example else {"schema": described, "example": dict(example)}


def _untitled(field: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name != "title"}


def _without_default(field: dict[str, Any]) -> dict[str, Any]:
    """Move a default to the example and description: openapi-typescript, for one, makes fields with one required."""
    if "default" not in field:
        return field
    field = {"example": field.pop("default"), **field}
    if field["example"] in (None, "", []) or "efault" in field.get("description", ""):
        return field
    shown = json.dumps(field["example"])
    return {**field, "description": f"{field.get('description', '')} Default: {shown}.".strip()}


def _form_field(field: Mapping[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a field that may be null without `anyOf`, for which the pages offer no input."""
    if "anyOf" not in field:
        return dict(field)
    (known,) = (each for each in field["anyOf"] if each != _NULL)
    known = _untitled(definitions[known["$ref"].rpartition("/")[2]] if "$ref" in known else known)
    others = {name: value for name, value in field.items() if name != "anyOf"}
    if _is_file(known):
        return {**known, **{name: value for name, value in others.items() if name != "example"}}
    if "enum" in known:
        known["enum"] = [*known["enum"], None]
    return {"example": None, **known, "type": [known["type"], "null"], **others}


def _is_file(part: Mapping[str, Any]) -> bool:
    # BentoML writes `file`.
    return part.get("type") == "file" or part.get("format") == "binary"


def _with_files(part: Any, file: Mapping[str, str]) -> Any:
    if isinstance(part, list):
        return [_with_files(each, file) for each in part]
    if not isinstance(part, dict):
        return part
    if _is_file(part):
        return {**file, **{name: value for name, value in part.items() if name not in ("type", "format", "pil")}}
    return {name: _with_files(value, file) for name, value in part.items()}
