"""Every error that a client can get, as OpenAPI describes it: by status, with its codes."""

from __future__ import annotations

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel

from api.openapi_description.bodies import JSON, REF
from core.errors import Cancelled, InvalidRequest, JubakoError

ALWAYS = (400, 401, 403, 404, 408, 413, 414, 429, 500, 503)
"""Error statuses of any operation."""
GENERATING = (502, 504, 507)
"""Further error statuses of operations that generate."""
_RETRIED = (429, 503)
_HEADERS = ("X-Request-ID",)


def error_codes() -> dict[int, list[str]]:
    """Return the codes of each status. A client that has left gets none."""
    codes: dict[int, list[str]] = {}
    for error in _all(JubakoError):
        if error is not Cancelled and error.code not in codes.setdefault(error.status, []):
            codes[error.status].append(error.code)
    return codes


def described_errors(refused: type[BaseModel], statuses: Iterator[int]) -> dict[str, Any]:
    """Return the components of a contract's errors; `refused` is their body, whose `code` gets its values."""
    codes = error_codes()
    schema = refused.model_json_schema(ref_template=REF)
    definitions = schema.pop("$defs", {})
    if "code" in schema["properties"] and "enum" not in schema["properties"]["code"]:
        schema["properties"]["code"]["enum"] = sorted({code for each in codes.values() for code in each})
    return {
        "schemas": {refused.__name__: schema, **definitions},
        "responses": {
            reference_name(refused, status): _response(refused, status, codes.get(status, [])) for status in statuses
        },
    }


def reference_name(refused: type[BaseModel], status: int) -> str:
    """Return the name of the component that is this status's response."""
    return f"{refused.__name__}{status}"


def _response(refused: type[BaseModel], status: int, codes: list[str]) -> dict[str, Any]:
    named = ", ".join(f"`{code}`" for code in codes) or f"`{InvalidRequest.code}`"
    headers = ("X-Request-ID", "Retry-After") if status in _RETRIED else ("X-Request-ID",)
    return {
        "description": f"{HTTPStatus(status).phrase}: {named}",
        "headers": {name: {"$ref": f"#/components/headers/{name}"} for name in headers},
        "content": {JSON: {"schema": {"$ref": REF.format(model=refused.__name__)}}},
    }


def _all(kind: type[JubakoError]) -> Iterator[type[JubakoError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _all(each)
