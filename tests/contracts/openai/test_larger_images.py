"""`hires` over HTTP: images at a larger size from each contract that has it, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.metadata import read_parameters
from tests.support.servers.serving import parse_events
from tests.support.web import client_of

ASKED = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 3}
LARGER = {"width": 96, "height": 80, "strength": 0.6, "num_inference_steps": 5}


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def test_the_typed_api_and_its_metadata(http: httpx.Client) -> None:
    first = http.post("/text_to_image", json={**ASKED, "hires": LARGER})
    assert opened(first).size == (96, 80)
    kept = read_parameters(opened(first))
    assert (kept["width"], kept["height"], kept["hires"]) == (64, 64, LARGER)
    assert http.post("/text_to_image", json=kept).content == first.content
    assert http.post("/text_to_image", data={**ASKED, "hires": json.dumps(LARGER)}).content == first.content
    assert "hires" not in read_parameters(opened(http.post("/text_to_image", json=ASKED)))


def test_models_say_whether_they_can(http: httpx.Client) -> None:
    models = http.get("/models").json()["models"]
    assert {model["id"]: model["hires"] for model in models} == {"tiny": True, "tiny-xl": True, "tiny-video": False}


def test_a_stream_counts_the_steps_of_both_passes(http: httpx.Client) -> None:
    events = parse_events(http.post("/stream", json={**ASKED, "hires": {"scale": 1.25, "strength": 0.7}}).text)
    steps = [(event.data["step"], event.data["steps"]) for event in events if event.name == "step"]
    assert steps == [(step, 5) for step in range(1, 6)]
    (image,) = (event.picture for event in events if event.name == "image")
    assert image.size == (80, 80)


def test_openai_says_the_size_of_the_result(http: httpx.Client) -> None:
    asked = {"prompt": "a red apple", "model": "tiny", "size": "64x64", "hires": {"width": 96}}
    response = http.post("/v1/images/generations", json={**asked, "hires": {"width": 80, "strength": 0.6}})
    assert response.status_code == 200, response.text
    body = response.json()
    assert body["size"] == "80x80"
    assert body["usage"]["output_tokens"] == 5 * 5
    refused = http.post("/v1/images/generations", json=asked)
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "hires.width")


@pytest.mark.parametrize(
    ("fields", "field", "says"),
    [
        ({"hires": {"scale": 9}}, "hires", "8"),
        ({"hires": {"scale": 1.5}}, "hires.width", "9216 pixels; at most 8192"),
        ({"hires": {"width": 90}}, "hires.width", "multiple of 16"),
        ({"hires": {"width": 80, "scale": 2}}, "hires.scale", "together"),
        ({"hires": {"width": 80, "strength": 0.1}}, "hires.strength", "no step at all"),
        ({"hires": {"width": 80, "num_inference_steps": 901}}, "hires.num_inference_steps", "900"),
        ({"hires": {"size": 2}}, "hires", "not permitted"),
        ({"hires": "{"}, "hires", "JSON object"),
        ({"hires": {}, "task": "image-to-image", "image": "x"}, "image", "image"),
        ({"hires": {}, "model": "tiny-video", "task": "text-to-video"}, "hires", "text-to-image has"),
    ],
)
def test_mistakes_are_named(http: httpx.Client, fields: dict[str, Any], field: str, says: str) -> None:
    response = http.post("/stream", json={**ASKED, **fields})
    assert response.status_code == 400, response.text
    assert response.json()["field"] == field
    assert says in response.json()["error"]
