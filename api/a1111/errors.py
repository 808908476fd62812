"""Errors as A1111's API has them: `{"error", "detail", "body", "errors"}`; `detail` is a list for a wrong field."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from api.http.refusals import error_answer
from core.errors import InvalidRequest, JubakoError

UNPROCESSABLE = 422


class A1111Mistake(BaseModel):
    type: str
    loc: list[str | int]
    msg: str


class A1111Refused(BaseModel):
    """An error. `detail` is a list for a wrong field, else a text."""

    error: str = Field(description="The error's code, which never changes.")
    detail: str | list[A1111Mistake]
    body: str
    errors: str = Field(description="What is wrong, for people.")


def a1111_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error: 422 for a wrong field, as FastAPI has it."""
    body: dict[str, Any] = {"error": error.code, "detail": error.message, "body": "", "errors": error.message}
    if not isinstance(error, InvalidRequest):
        return error_answer(error, body)
    body["detail"] = [{"type": "value_error", "loc": ["body", error.field], "msg": error.reason}]
    return error_answer(error, body, UNPROCESSABLE)
