"""Predictions as Replicate and Cog have them, over a real server; Replicate's client is in `test_real_clients.py`."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.metadata import read_parameters
from tests.support.servers.serving import half_mask, photo, png, wait_for
from tests.support.web import client_of

APPLE = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 2}
FOLDER = "/replicate/v1"


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def data_url(image: Image.Image) -> str:
    return f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"


def created(http: httpx.Client, path: str = f"{FOLDER}/predictions", wait: bool = True, **given: Any) -> dict[str, Any]:
    headers = {"Prefer": "wait=60"} if wait else {}
    answer = http.post(path, json={"input": {**APPLE, **given}}, headers=headers)
    assert answer.status_code == 201, answer.text
    body: dict[str, Any] = answer.json()
    return body


def opened(http: httpx.Client, url: str) -> Image.Image:
    data = base64.b64decode(url.partition(",")[2]) if url.startswith("data:") else http.get(url).content
    return Image.open(BytesIO(data))


class TestReplicate:
    def test_one_that_is_waited_for_is_done(self, http: httpx.Client) -> None:
        made = created(http, f"{FOLDER}/models/someone/tiny-xl/predictions", num_outputs=2, guidance=2.5)
        assert (made["status"], made["model"], made["error"]) == ("succeeded", "jubako/tiny-xl", None)
        said = [read_parameters(opened(http, url)) for url in made["output"]]
        assert [(each["seed"], each["guidance_scale"]) for each in said] == [(7, 2.5), (8, 2.5)]
        assert made["metrics"]["predict_time"] > 0
        assert made["logs"] == "100%|##########| 100/100"

    def test_one_is_followed_by_its_address(self, http: httpx.Client) -> None:
        made = created(http, wait=False, seed=21)
        assert made["status"] == "starting"
        address = made["urls"]["get"]
        wait_for(lambda: http.get(address).json()["status"] == "succeeded")
        assert http.get(address).json()["input"]["prompt"] == "a red apple"
        listed = http.get(f"{FOLDER}/predictions").json()
        assert made["id"] in [each["id"] for each in listed["results"]]
        assert listed["previous"] is None

    def test_one_is_cancelled(self, http: httpx.Client) -> None:
        made = created(http, wait=False, num_inference_steps=900, seed=11)
        assert http.post(made["urls"]["cancel"]).json()["status"] == "canceled"

    def test_what_is_waited_for_in_vain_has_not_begun(self, http: httpx.Client) -> None:
        headers, slow = {"Prefer": "wait=1"}, {**APPLE, "num_inference_steps": 900, "num_outputs": 8}
        made = http.post(f"{FOLDER}/predictions", json={"input": slow}, headers=headers).json()
        assert (made["status"], made["output"]) == ("starting", None)
        http.post(made["urls"]["cancel"])

    @pytest.mark.parametrize(
        ("given", "task"),
        [
            ({"image": data_url(photo()), "prompt_strength": 0.5}, "image-to-image"),
            ({"image": data_url(photo()), "mask": data_url(half_mask())}, "inpaint"),
        ],
    )
    def test_files_say_what_is_meant(self, http: httpx.Client, given: dict[str, Any], task: str) -> None:
        made = created(http, **given, output_format="jpg")
        image = opened(http, made["output"][0])
        assert (image.format, read_parameters(image)["task"]) == ("JPEG", task)

    def test_proportions_are_a_size(self, http: httpx.Client) -> None:
        made = created(http, aspect_ratio="2:1", go_fast=True)
        assert opened(http, made["output"][0]).size == (96, 48)
        assert made["hint"] == "unknown fields are ignored: go_fast"


class TestCog:
    def test_it_answers_with_the_files(self, http: httpx.Client) -> None:
        made = http.post("/predictions", json={"input": APPLE}).json()
        assert made["status"] == "succeeded"
        assert read_parameters(opened(http, made["output"][0]))["seed"] == 7

    def test_it_may_be_asked_not_to_wait(self, http: httpx.Client) -> None:
        slow = {"input": {**APPLE, "num_inference_steps": 900, "seed": 12}}
        answer = http.post("/predictions", json=slow, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.json()["status"]) == (202, "starting")
        assert http.get(answer.json()["urls"]["get"]).json()["id"] == answer.json()["id"]
        assert http.post(answer.json()["urls"]["cancel"]).json()["status"] == "canceled"


class TestMistakes:
    @pytest.mark.parametrize(
        ("body", "status", "word"),
        [
            ({"input": {"prompt": ""}}, 400, "prompt: is empty"),
            ({"input": {**APPLE, "width": 63}}, 400, "width: 63"),
            (
                {"input": {**APPLE, "image": "https://a.example/b.png"}},
                400,
                "addresses and file names are not followed",
            ),
            ({"input": {**APPLE, "aspect_ratio": "wide"}}, 400, "aspect_ratio: 'wide'"),
            ({"input": {**APPLE, "output_format": "tiff"}}, 400, "output_format: "),
            ({"input": 7}, 400, "input: "),
            ({"input": APPLE, "webhook": "https://a.example"}, 400, "webhook: webhooks are off"),
            ({"input": APPLE, "webhook_events_filter": ["start"]}, 400, "webhook_events_filter: "),
            ({"input": APPLE, "webhook_events_filter": ["end"]}, 400, "webhook_events_filter: "),
            ({"input": APPLE, "version": "someone/nobody:1"}, 404, "nobody"),
        ],
    )
    def test_they_are_named_as_problems(self, http: httpx.Client, body: dict[str, Any], status: int, word: str) -> None:
        refused = http.post(f"{FOLDER}/predictions", json=body)
        assert (refused.status_code, refused.json()["status"]) == (status, status)
        assert word in refused.json()["detail"]

    def test_an_unknown_prediction_and_cursor(self, http: httpx.Client) -> None:
        assert http.get(f"{FOLDER}/predictions/none").status_code == 404
        assert http.get(f"{FOLDER}/predictions", params={"cursor": "x"}).status_code == 400
