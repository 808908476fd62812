from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest
from starlette.responses import Response

from api.contracts import CONTRACTS
from api.http.refusals import InvalidForm, refusal, refusal_body
from api.http.requests.forms import validated
from api.jobs import routes
from api.ollama import generating as ollama_lines
from api.openai import streaming as openai_stream
from api.storyboard import answers as story_answers
from api.typed import streaming as typed_stream
from core.errors import (
    Busy,
    Cancelled,
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    JubakoError,
    LoadFailed,
    LoadInterrupted,
    NonFinite,
    OutOfMemory,
    PlanningFailed,
    RunnerLost,
    fields_named,
)
from core.generation.draft import Draft
from core.generation.events import Failed
from jobs.errors import LedgerUnavailable
from runners.host.middleware import refusal as runner_refusal
from storage.errors import StorageUnavailable
from storyboard.errors import NotInitialized


def test_a_busy_server_says_when_to_come_back() -> None:
    response = refusal(Busy("too many requests wait", retry_after_s=7))
    assert (response.status_code, response.headers["retry-after"]) == (503, "7")
    assert json.loads(bytes(response.body)) == {"error": "too many requests wait", "code": "busy"}


@pytest.mark.parametrize("kind", [Busy, Cancelled, DeadlineExceeded, GenerationFailed, NonFinite, OutOfMemory])
def test_a_runners_failure_keeps_its_kind_and_message(kind: type[JubakoError]) -> None:
    error = Failed(kind.code, "it went wrong").error
    assert (type(error), error.message) == (kind, "it went wrong")


def test_what_only_the_loaded_model_refuses_is_a_wrong_field() -> None:
    response = refusal(Failed.of(InvalidRequest("clip_skip", "10 is more than 2")).error)
    assert response.status_code == 400
    assert json.loads(bytes(response.body))["field"] == "clip_skip"


def test_a_renamed_field_is_renamed_throughout() -> None:
    with pytest.raises(InvalidForm) as refused, fields_named({"width": "size"}):
        validated({"prompt": "a fox", "width": 0, "height": 0}, Draft)
    body = refusal_body(refused.value)
    assert (body["field"], body["error"]) == ("size", f"size: {refused.value.reason}")
    assert [mistake["loc"] for mistake in body["detail"]] == [["size"], ["height"]]


def test_a_runner_says_when_to_try_again() -> None:
    error = Failed.of(LoadInterrupted("the hub cannot be reached", retry_after_s=30)).error
    response = refusal(error)
    assert (type(error), response.status_code, response.headers["retry-after"]) == (LoadInterrupted, 503, "30")
    assert "x-should-retry" not in response.headers


PERMANENT = [
    LoadFailed("the repository is gated"),
    NotInitialized("there is no such file"),
    OutOfMemory("too large"),
    NonFinite("NaN"),
    GenerationFailed("the model failed"),
    PlanningFailed("no usable scenes"),
]
PASSING = [
    Busy("full"),
    LedgerUnavailable("Redis does not answer"),
    LoadInterrupted("the hub cannot be reached", 30),
    RunnerLost(),
    StorageUnavailable("storage is away"),
]


@pytest.mark.parametrize("answer", [refusal, *(contract.refusal for contract in CONTRACTS.contracts)])
@pytest.mark.parametrize("error", [*PERMANENT, *PASSING], ids=lambda error: error.code)
def test_every_contract_says_whether_to_try_again(
    answer: Callable[[JubakoError], Response], error: JubakoError
) -> None:
    headers = answer(error).headers
    if error in PASSING:
        assert int(headers["retry-after"]) > 0
        assert "x-should-retry" not in headers
    else:
        assert headers["x-should-retry"] == "false"
        assert "retry-after" not in headers


@pytest.mark.parametrize(
    "error_text",
    [routes._error_text, typed_stream._error_text, openai_stream.error_text, story_answers.error_text],
)
@pytest.mark.parametrize("error", [*PERMANENT, *PASSING], ids=lambda error: error.code)
async def test_every_stream_says_so_too(error_text: Callable[[JubakoError], str], error: JubakoError) -> None:
    fields = json.loads(error_text(error).partition("\ndata: ")[2])
    assert fields.get("retry_after_s") == error.retry_after_s
    assert json.loads(ollama_lines.error_line(error)).get("retry_after_s") == error.retry_after_s


@pytest.mark.parametrize("error", [*PERMANENT, *PASSING], ids=lambda error: error.code)
async def test_what_is_no_mistake_of_a_batch_is_not_called_one(
    error: JubakoError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing() -> None:
        raise error

    monkeypatch.setattr(routes, "current_gateway", failing)
    with pytest.raises(type(error)):
        await routes._member_order(cast(Any, None), {"prompt": "a fox"}, 1, "batch", cast(Any, None))


def test_a_runner_alone_says_whether_to_try_again() -> None:
    assert runner_refusal("/generate", Busy("this server is being stopped", 5)).headers["retry-after"] == "5"
