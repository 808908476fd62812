"""Hugging Face's inference API over a real server: requests as the specifications of its tasks have them
(huggingface.js, packages/tasks/src/tasks/*/spec); its own client is in `test_real_clients.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.metadata import read_parameters
from tests.support.servers.replica import Replica
from tests.support.servers.serving import decoded, half_mask, photo, png
from tests.support.web import client_of

IMAGE = base64.b64encode(png(photo())).decode()
MASK = base64.b64encode(png(half_mask())).decode()


@pytest.fixture
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


def drawn(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code == 200, answer.text
    return read_parameters(Image.open(BytesIO(answer.content)))


def infer(http: httpx.Client, model: str, inputs: str, **parameters: Any) -> httpx.Response:
    return http.post(f"/models/{model}", json={"inputs": inputs, "parameters": parameters})


class TestText:
    def test_becomes_an_image(self, http: httpx.Client) -> None:
        answer = infer(http, "tiny", "a red apple", seed=7, num_inference_steps=3, guidance_scale=2.5, width=128)
        parameters = drawn(answer)
        assert (parameters["prompt"], parameters["seed"], parameters["num_inference_steps"]) == ("a red apple", 7, 3)
        assert (parameters["guidance_scale"], parameters["width"]) == (2.5, 128)
        assert (answer.headers["content-type"], answer.headers["x-jubako-seed"]) == ("image/png", "7")

    def test_becomes_a_video(self, http: httpx.Client) -> None:
        answer = infer(http, "tiny-video", "a red apple", num_frames=9, negative_prompt=["blurry", "dark"], seed=1)
        assert answer.headers["content-type"] == "video/mp4"
        assert len(decoded(answer.content)) == 9

    def test_needs_no_parameters_and_no_model(self, http: httpx.Client) -> None:
        """The first model served edits, and does nothing else."""
        answer = http.post("/", json={"inputs": "a red apple"})
        assert drawn(answer)["task"] == "text-to-image"
        assert answer.headers["x-jubako-model"] == "tiny"

    def test_of_frames_is_a_video_whatever_the_model(self, http: httpx.Client) -> None:
        answer = http.post("/", json={"inputs": "a red apple", "parameters": {"num_frames": 5}})
        assert (answer.headers["content-type"], answer.headers["x-jubako-model"]) == ("video/mp4", "tiny-video")

    @pytest.mark.parametrize(("accept", "media_type"), [("image/webp", "image/webp"), ("*/*", "image/png")])
    def test_comes_as_the_client_accepts_it(self, accept: str, media_type: str, http: httpx.Client) -> None:
        answer = http.post("/models/tiny", json={"inputs": "a red apple"}, headers={"Accept": accept})
        assert answer.headers["content-type"] == media_type

    def test_that_could_be_base64_is_a_prompt(self, http: httpx.Client) -> None:
        assert drawn(infer(http, "tiny", "apple" * 20))["prompt"] == "apple" * 20


class TestAnImage:
    def test_in_base64_with_a_prompt(self, http: httpx.Client) -> None:
        parameters = drawn(infer(http, "tiny-edit", IMAGE, prompt="blue", target_size={"width": 64, "height": 128}))
        assert (parameters["task"], parameters["prompt"]) == ("edit", "blue")
        assert (parameters["width"], parameters["height"]) == (64, 128)

    def test_for_a_model_that_does_not_edit(self, http: httpx.Client) -> None:
        assert drawn(infer(http, "tiny", IMAGE, prompt="blue", strength=0.5))["strength"] == 0.5

    @pytest.mark.parametrize(
        "headers", [{}, {"Content-Type": "image/png"}, {"Content-Type": "application/octet-stream"}]
    )
    def test_as_it_is_without_parameters(self, headers: dict[str, str], http: httpx.Client) -> None:
        assert drawn(http.post("/models/tiny", content=png(photo()), headers=headers))["task"] == "image-to-image"

    def test_with_a_mask(self, http: httpx.Client) -> None:
        assert drawn(infer(http, "tiny", IMAGE, prompt="blue", mask_image=MASK))["task"] == "inpaint"

    def test_becomes_a_video(self, http: httpx.Client) -> None:
        assert infer(http, "tiny-video", IMAGE, prompt="it falls").headers["content-type"] == "video/mp4"


class TestAModelThatIsNotLoaded:
    @pytest.fixture
    def unloaded(self, http: httpx.Client) -> Iterator[None]:
        http.post("/models/tiny-edit/unload").raise_for_status()
        yield
        infer(http, "tiny-edit", IMAGE, prompt="blue").raise_for_status()

    @pytest.mark.usefixtures("unloaded")
    def test_is_waited_for_unless_the_client_does_not(self, http: httpx.Client) -> None:
        body = {"inputs": IMAGE, "parameters": {"prompt": "blue"}}
        for answer in (
            http.post("/models/tiny-edit", json=body, headers={"x-wait-for-model": "false"}),
            http.post("/models/tiny-edit", json={**body, "options": {"wait_for_model": False}}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "20")
            assert answer.json()["error"] == "Model tiny-edit is currently loading"
            assert answer.json()["estimated_time"] == 20.0
        assert http.post("/models/tiny-edit", json=body, headers={"x-wait-for-model": "true"}).status_code == 200


@pytest.mark.parametrize(
    ("model", "body", "status", "field"),
    [
        ("tiny", {}, 400, "inputs"),
        ("tiny", {"inputs": ""}, 400, "inputs"),
        ("tiny", {"inputs": 7}, 400, "inputs"),
        ("tiny", {"inputs": "   "}, 400, "inputs"),
        ("tiny", {"inputs": "a", "parameters": 1}, 400, "parameters"),
        ("tiny", {"inputs": "a", "parameters": {"num_inference_steps": 0}}, 400, "num_inference_steps"),
        ("tiny", {"inputs": "a", "parameters": {"width": 7}}, 400, "width"),
        ("tiny", {"inputs": "a", "parameters": {"target_size": {"width": 64}}}, 400, "target_size"),
        ("tiny", {"inputs": "a", "parameters": {"num_images": 2}}, 400, "num_images"),
        ("tiny", {"inputs": "a", "parameters": {"mask_image": MASK}}, 400, "mask_image"),
        ("tiny", {"inputs": "a", "parameters": {"steps": 2}}, 400, "steps"),
        ("tiny", {"inputs": "a", "parameters": {"output_format": "mp4"}}, 400, "output_format"),
        ("tiny-edit", {"inputs": "a"}, 400, "model"),
        ("tiny", {"inputs": IMAGE[:-40]}, 400, "inputs"),
        ("nothing", {"inputs": "a"}, 404, None),
    ],
)
def test_a_mistake_is_named(
    model: str, body: dict[str, Any], status: int, field: str | None, http: httpx.Client
) -> None:
    answer = http.post(f"/models/{model}", json=body)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert answer.json()["error"].startswith(f"{field or 'model'}: ")


def test_bytes_that_are_no_image_are_refused(http: httpx.Client) -> None:
    answer = http.post("/models/tiny", content=b"GIF89a", headers={"Content-Type": "image/gif"})
    assert (answer.status_code, answer.json()["field"]) == (400, "inputs")


def test_the_addresses_of_models_are_still_those_of_operations(http: httpx.Client) -> None:
    assert "models" in http.get("/models").json()
    assert http.post("/models/tiny/load").json()["model"] == "tiny"
    assert "text/html" in http.get("/", headers={"Accept": "text/html"}).headers["content-type"]
