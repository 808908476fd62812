"""Errors as responses: `{"error", "code"}`, and for a wrong field also `field` and `detail`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, ValidationError
from starlette.responses import JSONResponse

from core.errors import InvalidRequest, JubakoError, WrongMethod, retry_headers


class Mistake(BaseModel):
    loc: list[str | int] = Field(description="Where it is: the field, and within it.")
    msg: str


class Refused(BaseModel):
    """An error. `field` and `detail` are there where a field of the request is wrong."""

    error: str = Field(description="What is wrong, for people.")
    code: str = Field(description="What is wrong, for programs: never changes.")
    field: str | None = Field(default=None, description="The field that is wrong.")
    detail: list[Mistake] | None = Field(default=None, description="All wrong fields.")


class InvalidForm(InvalidRequest):
    """Several fields may be wrong; the first gives the message, `detail` lists all of them."""

    def __init__(self, error: ValidationError) -> None:
        self.detail: list[dict[str, Any]] = [
            {"loc": list(e["loc"]), "msg": _reason(e)} for e in error.errors(include_url=False)
        ]
        first = self.detail[0]
        super().__init__(str(first["loc"][0]) if first["loc"] else "body", str(first["msg"]))

    def rename(self, names: Mapping[str, str]) -> None:
        super().rename(names)
        for mistake in self.detail:
            place = mistake["loc"]
            place[:1] = [names.get(field, field) for field in place[:1]]


def refusal_body(error: JubakoError) -> dict[str, Any]:
    """Return the body of an error response."""
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if isinstance(error, InvalidRequest):
        body["field"] = error.field
        body["detail"] = getattr(error, "detail", [{"loc": [error.field], "msg": error.reason}])
    return body


def refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error."""
    return error_answer(error, refusal_body(error))


def error_answer(
    error: JubakoError, body: Mapping[str, Any], status: int | None = None, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    """Return an error response with a contract's own body, and headers that say whether, and when, to retry."""
    allowed = {"Allow": error.allowed} if isinstance(error, WrongMethod) else {}
    return JSONResponse(body, status or error.status, {**retry_headers(error), **allowed, **(headers or {})})


def _reason(error: Any) -> str:
    message: str = error["msg"]
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden") or not isinstance(value, str | int | float):
        return message
    shown = repr(value if not isinstance(value, str) or len(value) < 60 else value[:60] + "...")
    return f"{message}, got {shown}"
