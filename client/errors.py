"""What a server refuses, and what it could not do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx


class Refused(Exception):
    """The server's own words, with what programs need of them."""

    def __init__(
        self,
        message: str,
        status: int | None = None,
        code: str | None = None,
        field: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        """Of the HTTP answer; None for an error within a stream, or of a job."""
        self.code = code
        """Never changes, such as `invalid_request`."""
        self.field = field
        """The parameter that is wrong."""
        self.retry_after_s = retry_after_s
        """Set where trying again may help."""


class Unreachable(Exception):
    """There is no server at the address, or the connection was lost."""


def refusal_of(answer: httpx.Response) -> Refused:
    """Return an answer's error. Its body must have been read."""
    retry_after = answer.headers.get("retry-after")
    try:
        fields = answer.json()
    except ValueError:
        fields = {"error": answer.text[:500]}
    fields = fields if isinstance(fields, dict) else {"error": str(fields)}
    return refusal_from(fields, answer.status_code, float(retry_after) if retry_after else None)


def refusal_from(fields: Mapping[str, Any], status: int | None = None, retry_after_s: float | None = None) -> Refused:
    """Return the error that fields of an answer or an event describe."""
    message = fields.get("error") or fields.get("detail") or f"the server answers {status}"
    return Refused(
        str(message), status, fields.get("code"), fields.get("field"), fields.get("retry_after_s", retry_after_s)
    )
