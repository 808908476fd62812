from __future__ import annotations

import json

import pytest

from api.http.refusals import refusal
from core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    JubakoError,
    LoadFailed,
    NonFinite,
    OutOfMemory,
)
from core.events import Failed


def test_a_busy_server_says_when_to_come_back() -> None:
    response = refusal(Busy("too many requests wait", retry_after_s=7))
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert json.loads(bytes(response.body)) == {"error": "too many requests wait", "code": "busy"}


@pytest.mark.parametrize("kind", [Busy, Cancelled, DeadlineExceeded, GenerationFailed, NonFinite, OutOfMemory])
def test_a_runners_failure_keeps_its_kind_and_message(kind: type[JubakoError]) -> None:
    error = Failed(kind.code, "it went wrong").error
    assert (type(error), error.message) == (kind, "it went wrong")


def test_a_runner_says_when_to_try_again() -> None:
    error = Failed.of(LoadFailed("the repository is gated", retry_after_s=30)).error
    assert (type(error), refusal(error).headers["retry-after"]) == (LoadFailed, "30")
