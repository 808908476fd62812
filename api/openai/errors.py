"""Errors as OpenAI's clients understand them: `{"error": {"message", "type", "param", "code"}}`.

The status decides which exception a client raises; the codes are OpenAI's wherever it has one.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError

from api.http.refusals import InvalidForm, error_answer
from core.errors import InvalidRequest, JubakoError, UnknownModel
from core.generation.request import Task
from models.catalogue.entry import Entry

_PARAMS = {"body": None}
"""The `param` of errors, where it is not our name for the field."""
_WRONG_CODES = {
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
}
"""OpenAI's codes by pydantic's type of error."""
_CODES = {
    "unauthorized": "invalid_api_key",
    "unknown_address": "unknown_url",
    "unknown_model": "model_not_found",
    "wrong_method": "method_not_supported",
}
"""OpenAI's codes, where they differ from ours."""
_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


class OpenAIError(BaseModel):
    message: str
    type: str = Field(description="invalid_request_error, authentication_error, rate_limit_error, server_error, ...")
    param: str | None = Field(description="The field that is wrong.")
    code: str | None
    capabilities: list[str] | None = Field(default=None, description="What the model can do, where it cannot do this.")


class OpenAIRefused(BaseModel):
    """An error, as OpenAI's clients know it."""

    error: OpenAIError


class WrongField(InvalidRequest):
    """A field is missing, unknown or has a value that no model allows."""

    def __init__(self, error: ValidationError) -> None:
        form, kind = InvalidForm(error), error.errors()[0]["type"]
        reason = "is not a parameter of this endpoint" if kind == "extra_forbidden" else form.reason
        super().__init__(form.field, reason)
        self.openai_code = _WRONG_CODES.get(kind, "invalid_value")


class CannotDo(InvalidRequest):
    """The model does not support the task; the message names what it can do, and which served models can."""

    openai_code = "unsupported_task"

    def __init__(self, entry: Entry, task: Task, able: Iterable[str]) -> None:
        self.capabilities = [task.value for task in entry.tasks]
        others = ", ".join(able) or "none"
        able_to = ", ".join(self.capabilities)
        reason = f"{entry.id} cannot do {task.value}; it can do {able_to}. Served models that can: {others}"
        super().__init__("model", reason)


def openai_error(error: JubakoError) -> dict[str, Any]:
    """Return the body of an error response."""
    param, code = None, _CODES.get(error.code, error.code)
    if isinstance(error, InvalidRequest):
        param, code = _PARAMS.get(error.field, error.field), _code_of(error)
    elif isinstance(error, UnknownModel):
        param = "model"
    elif error.status == 429:
        code = "rate_limit_exceeded"
    body: dict[str, Any] = {"message": error.message, "type": _type_of(error.status), "param": param, "code": code}
    if isinstance(error, CannotDo):
        body["capabilities"] = error.capabilities
    return {"error": body}


def openai_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error."""
    return error_answer(error, openai_error(error))


def _code_of(error: InvalidRequest) -> str:
    if isinstance(error, WrongField | CannotDo):
        return error.openai_code
    return "invalid_value" if error.code == InvalidRequest.code else error.code


def _type_of(status: int) -> str:
    if status in _TYPES:
        return _TYPES[status]
    return "server_error" if status >= 500 else "invalid_request_error"
