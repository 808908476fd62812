"""Ollama's API of image generation over a real server; its own client is run in `test_real_clients.py`."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.metadata import read_parameters
from tests.support.servers.serving import photo, png
from tests.support.web import client_of

ASKED = {"model": "tiny", "prompt": "a red apple", "steps": 3, "options": {"seed": 7}}
PHOTO = base64.b64encode(png(photo())).decode()


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def lines(response: httpx.Response) -> list[dict[str, Any]]:
    assert response.status_code == 200, response.text
    return [json.loads(line) for line in response.text.splitlines()]


def opened(text: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(text)))


def test_an_answer_is_lines_of_progress_and_then_the_image(http: httpx.Client) -> None:
    response = http.post("/ollama/api/generate", json={**ASKED, "width": 64, "height": 0})
    assert response.headers["content-type"] == "application/x-ndjson"
    *progress, last = lines(response)
    assert [(line["completed"], line["total"]) for line in progress][-3:] == [(1, 3), (2, 3), (3, 3)]
    assert {line["done"] for line in progress} == {False}
    assert (last["done"], last["done_reason"], last["seed"], last["model"]) == (True, "stop", 7, "tiny")
    assert last["skipped_steps"] == 0
    assert last["total_duration"] >= last["load_duration"] >= 0
    ours = {"prompt": "a red apple", "num_inference_steps": 3, "seed": 7}
    assert (
        opened(last["image"]).tobytes() == Image.open(BytesIO(http.post("/text_to_image", json=ours).content)).tobytes()
    )


def test_without_a_stream_it_is_the_image_alone(http: httpx.Client) -> None:
    fields = {"model": "tiny:latest", "stream": False, "system": "You paint.", "keep_alive": "5m"}
    response = http.post("/ollama/api/generate", json={**ASKED, **fields, "options": {"temperature": 0.5}})
    body = response.json()
    assert (body["done"], body["model"]) == (True, "tiny:latest")
    assert body["hint"] == response.headers["x-jubako-hint"]
    assert body["hint"].startswith("unknown fields are ignored: options.temperature, system")


def test_images_are_what_it_starts_from(http: httpx.Client) -> None:
    body = http.post("/ollama/api/generate", json={**ASKED, "images": [PHOTO], "stream": False}).json()
    assert read_parameters(opened(body["image"]))["task"] == "image-to-image"


def test_its_models(http: httpx.Client) -> None:
    models = http.get("/ollama/api/tags").json()["models"]
    assert [(model["name"], model["capabilities"]) for model in models] == [("tiny", ["image"]), ("tiny-xl", ["image"])]
    shown = http.post("/ollama/api/show", json={"model": "tiny"}).json()
    assert (shown["license"], shown["details"]["family"]) == ("none", "stable-diffusion")
    assert http.get("/ollama/api/version").json().keys() == {"version"}


@pytest.mark.parametrize(
    ("fields", "status", "word"),
    [
        ({"model": "nobody"}, 404, "nobody"),
        ({"model": None}, 400, "model: Field required"),
        ({"prompt": ""}, 400, "prompt: is empty"),
        ({"steps": 901}, 400, "steps: 901"),
        ({"steps": -1}, 400, "steps: "),
        ({"width": 63}, 400, "width: 63"),
        ({"images": ["aGFsbG8="]}, 400, "images: is not an image"),
        ({"images": [PHOTO] * 2}, 400, "images: 2 were given"),
        ({"options": {"seed": 0.5}}, 400, "options: "),
    ],
)
def test_mistakes_are_named_in_its_shape(http: httpx.Client, fields: dict[str, Any], status: int, word: str) -> None:
    for stream in (True, False):
        refused = http.post("/ollama/api/generate", json={**ASKED, **fields, "stream": stream})
        assert refused.status_code == status
        assert refused.json().keys() == {"error"}
        assert word in refused.json()["error"]
