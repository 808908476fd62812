"""What a server refuses, and what it could not do."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx


class Refused(Exception):
    """A server's refusal or failure, in its own words, with fields for programs."""

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
        """Status of the HTTP answer; None for an error within a stream, or of a job."""
        self.code = code
        """Never changes, such as `invalid_request`."""
        self.field = field
        """The parameter that is wrong."""
        self.retry_after_s = retry_after_s
        """Set if trying again may help."""


class Unreachable(Exception):
    """There is no server at the address, or the connection was lost."""


def refusal_of(answer: httpx.Response) -> Refused:
    """Return an answer's error. Its body must have been read."""
    try:
        fields = answer.json()
    except ValueError:
        fields = {"error": answer.text[:500]}
    fields = fields if isinstance(fields, dict) else {"error": str(fields)}
    return refusal_from(fields, answer.status_code, retry_after_s_of(answer.headers.get("retry-after")))


def retry_after_s_of(header: str | None) -> float | None:
    """Return the seconds in a Retry-After, which is a number or, from proxies, a date."""
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        return _seconds_until(header)
    return seconds if math.isfinite(seconds) and seconds >= 0 else None


def _seconds_until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        # "-0000" names no zone, and HTTP has only one.
        moment = moment.replace(tzinfo=timezone.utc)  # noqa: UP017 - Python 3.10 has no other name for it
    return max(0.0, (moment - datetime.now(moment.tzinfo)).total_seconds())


def refusal_from(fields: Mapping[str, Any], status: int | None = None, retry_after_s: float | None = None) -> Refused:
    """Return the error that fields of an answer or an event describe."""
    message = fields.get("error") or fields.get("detail") or f"the server answers {status}"
    return Refused(
        str(message), status, fields.get("code"), fields.get("field"), fields.get("retry_after_s", retry_after_s)
    )
