"""What of a form is text and what is a file, however clients write its parts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from api.http.refusals import refusal
from api.http.requests.parsing import read_fields, read_model
from core.errors import JubakoError
from core.generation.client_fields import ClientFields
from core.generation.draft import Loras

JSON = "application/json"
FILE = ("image.png", b"pixels", "image/png")


class Styled(ClientFields):
    prompt: str = ""
    loras: Loras = ()


async def fields(request: Request) -> Response:
    read = await read_fields(request, files=("image",))
    return JSONResponse({name: str(value) for name, value in read.items()})


async def styled(request: Request) -> Response:
    return JSONResponse((await read_model(request, Styled)).model_dump())


async def refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, JubakoError)
    return refusal(error)


APP = Starlette(
    routes=[Route(f"/{answer.__name__}", answer, methods=["POST"]) for answer in (fields, styled)],
    exception_handlers={JubakoError: refused},
)


def sent(*parts: tuple[str, Any], to: str = "/fields") -> Any:
    return TestClient(APP).post(to, files=list(parts))


def as_json(value: str) -> tuple[str, bytes, str]:
    """A part as Swagger's page writes it."""
    return "blob", value.encode(), JSON


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("a red apple", "a red apple"),
        ('"a red apple"', "a red apple"),
        ("42", "42"),
        ('{"a": 1}', '{"a": 1}'),
        ("猫", "猫"),
    ],
)
@pytest.mark.parametrize("media_type", [JSON, "application/json; charset=utf-8"])
def test_a_part_of_json_is_text_though_it_has_a_file_name(written: str, read: str, media_type: str) -> None:
    answer = sent(("prompt", ("blob", written.encode(), media_type)), ("image", FILE))
    assert answer.json() == {"prompt": read, "image": "[b'pixels']"}


@pytest.mark.parametrize("empty", ["", "null"])
def test_an_empty_one_was_left_out(empty: str) -> None:
    assert sent(("prompt", as_json(empty)), ("image", FILE)).json() == {"image": "[b'pixels']"}


def test_one_that_is_no_text_is_refused_by_its_name() -> None:
    answer = sent(("prompt", ("blob", b"\xff\xfe", JSON)))
    assert (answer.status_code, answer.json()["field"]) == (400, "prompt")


def test_other_files_in_place_of_text_are_refused() -> None:
    answer = sent(("prompt", ("prompt.png", b"pixels", "image/png")))
    assert answer.json()["error"] == "prompt: must be a text field, not a file"


@pytest.mark.parametrize(
    "parts",
    [
        ['[{"name": "sketch", "scale": 0.5}, {"name": "clay"}]'],
        ['{"name": "sketch", "scale": 0.5}', '{"name": "clay"}'],
    ],
)
@pytest.mark.parametrize("write", [as_json, lambda text: (None, text)])
def test_lists_of_objects_come_in_one_part_or_in_many(parts: list[str], write: Any) -> None:
    answer = sent(*(("loras", write(part)) for part in parts), to="/styled")
    assert answer.json()["loras"] == [{"name": "sketch", "scale": 0.5}, {"name": "clay", "scale": 1.0}]


@pytest.mark.parametrize("lora", ["sketch", json.dumps({"name": "sketch"})])
def test_one_object_or_name_is_a_list_of_it(lora: str) -> None:
    answer = sent(("loras", (None, lora)), to="/styled")
    assert answer.json()["loras"] == [{"name": "sketch", "scale": 1.0}]
