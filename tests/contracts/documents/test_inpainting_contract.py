"""The inpainting server's contract over a real server."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import half_mask, photo, png, write_tiny_catalogue
from tests.support.web import client_of

PREFIXES = ["", "/inpainting"]
ODD = (201, 155)
"""Larger than the model draws, of other proportions, and no multiple of anything."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """A model for videos comes first, so the default must be another; the miniature can do token-opt."""
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("inpainting"))
    with replica(catalogue, JUBAKO_MODELS="tiny-video,tiny,miniature", JUBAKO_MAX_NUM_IMAGES="3") as server:
        yield server


@pytest.fixture
def http(server: Replica) -> Iterator[httpx.Client]:
    with client_of(server.url) as client:
        yield client


def post(
    http: httpx.Client, image: Image.Image | None = None, mask: Image.Image | None = None, **fields: Any
) -> httpx.Response:
    files = {"input_image": png(image or photo()), "mask_image": png(mask or half_mask())}
    data = {"prompt": "a red apple", **{name: str(value) for name, value in fields.items()}}
    return http.post("/generate-inpainting", data=data, files=files)


def pictures(answer: httpx.Response) -> list[Image.Image]:
    assert answer.status_code == 200, answer.text
    return [Image.open(BytesIO(base64.b64decode(result["data"]))) for result in answer.json()["results"]]


class TestTheDocument:
    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_its_example_runs(self, server: Replica, prefix: str, tmp_path: Path) -> None:
        photo(*ODD).save(tmp_path / "original.png")
        half_mask(*ODD).save(tmp_path / "mask.png")
        command = f"""curl -s -X POST "{server.url}{prefix}/generate-inpainting" \\
             -F "prompt=un gatto spaziale" \\
             -F "num_generations=2" \\
             -F "input_image=@{tmp_path}/original.png" \\
             -F "mask_image=@{tmp_path}/mask.png" """
        done = subprocess.run(["bash", "-c", command], capture_output=True, check=True, timeout=60)
        results = json.loads(done.stdout)["results"]
        assert [set(result) for result in results] == [{"filename", "content_type", "data"}] * 2
        assert [result["filename"] for result in results] == ["generation_1.png", "generation_2.png"]
        for result in results:
            assert result["content_type"] == "image/png"
            assert Image.open(BytesIO(base64.b64decode(result["data"]))).size == ODD

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_health(self, server: Replica, prefix: str) -> None:
        command = ["curl", "-s", f"{server.url}{prefix}/health"]
        body = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)
        assert body["status"] == "healthy"
        assert prefix == "" or body == {"status": "healthy"}

    @pytest.mark.parametrize("page", ["/docs", "/redoc", "/openapi.json"])
    def test_its_documentation_is_its_own(self, http: httpx.Client, page: str) -> None:
        assert "Inpainting server" in http.get(f"/inpainting{page}").text


class TestPixels:
    @pytest.mark.parametrize("method", ["diffusion", "token-opt"])
    def test_those_outside_the_mask_are_the_inputs_own(self, http: httpx.Client, method: str) -> None:
        image, mask = photo(*ODD), half_mask(*ODD)
        extras: dict[str, Any] = {"iterations": 3} if method == "token-opt" else {}
        (drawn,) = pictures(post(http, image, mask, method=method, seed=1, **extras))
        kept = np.asarray(mask) == 0
        assert (np.asarray(drawn)[kept] == np.asarray(image)[kept]).all()
        assert (np.asarray(drawn)[~kept] != np.asarray(image)[~kept]).mean() > 0.5

    def test_an_empty_mask_returns_the_input(self, http: httpx.Client) -> None:
        (drawn,) = pictures(post(http, photo(), Image.new("L", photo().size, 0)))
        assert drawn.tobytes() == photo().tobytes()

    def test_a_seed_gives_the_same_pictures_and_the_next_one_alone(self, http: httpx.Client) -> None:
        first, second = pictures(post(http, num_generations=2, seed=5))
        again, _ = pictures(post(http, num_generations=2, seed=5))
        (alone,) = pictures(post(http, seed=6))
        assert first.tobytes() == again.tobytes() != second.tobytes()
        assert alone.tobytes() == second.tobytes()

    @pytest.mark.parametrize("model", ["tiny", "miniature"])
    def test_the_extras_are_taken(self, http: httpx.Client, model: str) -> None:
        extras: dict[str, Any] = {
            "model": model,
            "num_inference_steps": 6,
            "guidance_scale": 2.5,
            "strength": 0.5,
            "seed": 9,
        }
        (drawn,) = pictures(post(http, **extras))
        said = json.loads(drawn.info["parameters"])
        assert {name: said[name] for name in extras} == extras


def test_what_cannot_act_is_in_the_hint(http: httpx.Client) -> None:
    answer = post(http, iterations=5, steps=4)
    assert answer.status_code == 200, answer.text
    unknown, idle, *_ = answer.json()["hint"].split("; ")
    assert unknown == "unknown fields are ignored: steps"
    assert idle == "iterations is ignored: diffusion has num_inference_steps"
    assert answer.headers["x-jubako-hint"] == answer.json()["hint"]


class TestMistakes:
    @pytest.mark.parametrize(
        ("fields", "field", "word"),
        [
            ({"num_generations": 0}, "num_generations", "greater than or equal to 1"),
            ({"num_generations": 4}, "num_generations", "3"),
            ({"num_generations": "two"}, "num_generations", "integer"),
            ({"seed": -2}, "seed", "greater"),
            ({"strength": 2}, "strength", "less than or equal to 1"),
            ({"method": "magic"}, "method", "token-opt"),
            ({"method": "token-opt", "model": "tiny"}, "method", "cannot"),
            ({"method": "token-opt", "iterations": 10_000}, "iterations", "600"),
        ],
    )
    def test_fields_are_named_as_fastapi_does(
        self, http: httpx.Client, fields: dict[str, Any], field: str, word: str
    ) -> None:
        answer = post(http, **fields)
        assert answer.status_code == 422
        (mistake,) = answer.json()["detail"]
        assert mistake["loc"] == ["body", field]
        assert word in mistake["msg"]

    @pytest.mark.parametrize("missing", ["prompt", "input_image", "mask_image"])
    def test_what_is_missing_is_named(self, http: httpx.Client, missing: str) -> None:
        parts: dict[str, Any] = {"prompt": (None, "a"), "input_image": png(photo()), "mask_image": png(half_mask())}
        del parts[missing]
        answer = http.post("/generate-inpainting", files=parts)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", missing]

    def test_a_mask_of_another_size_is_refused_by_name(self, http: httpx.Client) -> None:
        answer = post(http, photo(), half_mask(32, 32))
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", "mask_image"]
        assert "32x32" in answer.json()["detail"][0]["msg"]

    @pytest.mark.parametrize("field", ["input_image", "mask_image"])
    def test_what_is_no_image_is_refused_by_name(self, http: httpx.Client, field: str) -> None:
        files = {"input_image": png(photo()), "mask_image": png(half_mask())} | {field: b"no image"}
        answer = http.post("/generate-inpainting", data={"prompt": "a"}, files=files)
        assert answer.status_code == 422
        assert answer.json()["detail"][0]["loc"] == ["body", field]

    def test_an_unknown_model_is_named(self, http: httpx.Client) -> None:
        answer = post(http, model="nothing")
        assert answer.status_code == 404
        assert "'nothing' is not served" in answer.json()["detail"]


class TestTokenOptimisation:
    def test_it_is_told_of_step_by_step(self, http: httpx.Client) -> None:
        files = {"image": png(photo(128, 128)), "mask": png(half_mask(128, 128))}
        data = {"model": "miniature", "task": "inpaint", "prompt": "a red apple", "method": "token-opt"}
        answer = http.post("/stream", data={**data, "iterations": "4"}, files=files)
        assert answer.text.count("event: step") == 4
        assert '"method": "token-opt", "iterations": 4' in answer.text

    def test_who_leaves_stops_it_and_the_next_one_begins(self, http: httpx.Client) -> None:
        with pytest.raises(httpx.ReadTimeout):
            http.post(
                "/generate-inpainting",
                data={"prompt": "a", "method": "token-opt", "iterations": "600"},
                files={"input_image": png(photo(128, 128)), "mask_image": png(half_mask(128, 128))},
                timeout=2,
            )
        assert len(pictures(post(http, method="token-opt", iterations=2))) == 1

    def test_a_deadline_ends_it(self, http: httpx.Client) -> None:
        files = {"image": png(photo(128, 128)), "mask": png(half_mask(128, 128))}
        data = {"model": "miniature", "prompt": "a", "method": "token-opt", "iterations": "600", "deadline_s": "1"}
        answer = http.post("/inpaint", data=data, files=files)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
