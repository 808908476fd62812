"""Errors as answers: `{"error", "code"}`, and for a wrong field also `field` and `detail`."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError
from starlette.responses import JSONResponse

from core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    JubakoError,
    LoadFailed,
    NonFinite,
    OutOfMemory,
)
from core.events import Failed

_FROM_RUNNER: dict[str, type[JubakoError]] = {
    error.code: error for error in (DeadlineExceeded, Cancelled, OutOfMemory, NonFinite, GenerationFailed)
}
_PASSING: dict[str, type[Busy]] = {error.code: error for error in (Busy, LoadFailed)}


class InvalidForm(InvalidRequest):
    """Several fields may be wrong; the first gives the message, `detail` lists all of them."""

    def __init__(self, error: ValidationError) -> None:
        self.detail = [{"loc": list(e["loc"]), "msg": _reason(e)} for e in error.errors(include_url=False)]
        first = self.detail[0]
        super().__init__(str(first["loc"][0]) if first["loc"] else "body", str(first["msg"]))


def refusal_body(error: JubakoError) -> dict[str, Any]:
    """Return what a caller reads about an error."""
    body: dict[str, Any] = {"error": error.message, "code": error.code}
    if isinstance(error, InvalidRequest):
        body["field"] = error.field
        body["detail"] = getattr(error, "detail", [{"loc": [error.field], "msg": error.reason}])
    return body


def refusal(error: JubakoError) -> JSONResponse:
    """Return the answer for an error."""
    headers = {"Retry-After": str(error.retry_after_s)} if isinstance(error, Busy) else None
    return JSONResponse(refusal_body(error), error.status, headers)


def error_of(event: Failed) -> JubakoError:
    """Return a runner's failure as the error it was."""
    if event.code in _PASSING:
        return _PASSING[event.code](event.message, event.retry_after_s or 1)
    return _FROM_RUNNER.get(event.code, GenerationFailed)(event.message)


def _reason(error: Any) -> str:
    message: str = error["msg"]
    value = error["input"]
    if error["type"] in ("missing", "extra_forbidden") or not isinstance(value, str | int | float):
        return message
    shown = repr(value if not isinstance(value, str) or len(value) < 60 else value[:60] + "...")
    return f"{message}, got {shown}"
