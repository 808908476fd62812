"""`upscale` of requests, and `POST /upscale`, on a server without an upscaling model: it says that it uses Lanczos."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image, ImageChops

from client import Jubako
from client.terminal.command import main
from tests.support.image_files import saved
from tests.support.metadata import read_parameters
from tests.support.servers.serving import wait_for
from tests.support.web import client_of

ASKED = {"prompt": "a red apple", "seed": 7, "num_inference_steps": 2}
SAYS = "no upscaling model"


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture(scope="module")
def plain(http: httpx.Client) -> Image.Image:
    return opened(http.post("/text_to_image", json=ASKED))


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content)).convert("RGB")


def loaded(file: str) -> Image.Image:
    with Image.open(file) as image:
        return image.convert("RGB")


def lanczos(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)


def same(one: Image.Image, other: Image.Image) -> bool:
    return one.size == other.size and ImageChops.difference(one, other).getbbox() is None


def test_a_result_is_upscaled_and_says_by_what(http: httpx.Client, plain: Image.Image) -> None:
    response = http.post("/text_to_image", json={**ASKED, "upscale": 4})
    assert same(opened(response), lanczos(plain, 4))
    assert response.headers["X-Jubako-Upscaler"] == "Lanczos"
    assert SAYS in response.headers["X-Jubako-Hint"]


def test_its_metadata_give_it_again(http: httpx.Client, plain: Image.Image) -> None:
    first = http.post("/text_to_image", data={**ASKED, "upscale": "2"})
    kept = read_parameters(Image.open(BytesIO(first.content)))
    assert (kept["width"], kept["height"], kept["upscale"]) == (*plain.size, 2)
    assert http.post("/text_to_image", json=kept).content == first.content
    assert "upscale" not in read_parameters(Image.open(BytesIO(http.post("/text_to_image", json=ASKED).content)))


def test_what_a_mask_keeps_is_that_of_the_image_upscaled(http: httpx.Client) -> None:
    image = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    mask = Image.new("L", image.size)
    mask.paste(255, (0, 0, 32, 64))
    files = {"image": saved(image), "mask": saved(mask)}
    result = opened(http.post("/inpaint", data={**ASKED, "upscale": 2, "strength": 1}, files=files))
    # Lanczos looks as far as three pixels.
    kept = (2 * (32 + 3), 0, 128, 128)
    assert same(result.crop(kept), lanczos(image, 2).crop(kept))


def test_other_contracts_have_it_too(http: httpx.Client) -> None:
    asked = {**ASKED, "model": "tiny", "upscale": 2}
    images = http.post("/v1/images/generations", json={**asked, "size": "64x64"}).json()
    assert images["size"] == "128x128"
    assert SAYS in images["hint"]
    assert decoded(images["data"][0]["b64_json"]).size == (128, 128)
    chat = http.post("/v1/chat/completions", json={**asked, "messages": [{"role": "user", "content": "a red apple"}]})
    (shown,) = chat.json()["choices"][0]["message"]["images"]
    assert decoded(shown["image_url"]["url"].partition(",")[2]).size == (128, 128)
    inference = {"inputs": "a red apple", "parameters": {"seed": 7, "num_inference_steps": 2, "upscale": 2}}
    assert opened(http.post("/models/tiny", json=inference)).size == (128, 128)
    options = {"seed": 7, "upscale": 2}
    asked_of_ollama = {"model": "tiny", "prompt": "a red apple", "steps": 2, "options": options, "stream": False}
    generated = http.post("/ollama/api/generate", json={**asked_of_ollama, "width": 64, "height": 64}).json()
    assert (decoded(generated["image"]).size, SAYS in generated["hint"]) == ((128, 128), True)
    predicted = http.post(
        "/replicate/v1/models/local/tiny/predictions", json={"input": asked}, headers={"Prefer": "wait"}
    )
    assert opened(http.get(predicted.json()["output"][0])).size == (128, 128)


def test_an_inpainting_is_upscaled_within_its_upload(http: httpx.Client) -> None:
    image = Image.linear_gradient("L").resize((100, 60)).convert("RGB")
    mask = Image.new("L", image.size)
    mask.paste(255, (0, 0, 50, 60))
    files = {"input_image": saved(image), "mask_image": saved(mask)}
    form = {**ASKED, "model": "tiny", "strength": "1", "upscale": "2"}
    response = http.post("/generate-inpainting", data=form, files=files)
    assert response.status_code == 200, response.text
    assert SAYS in response.json()["hint"]
    result = decoded(response.json()["results"][0]["data"])
    kept = (2 * (50 + 3), 0, 200, 120)
    assert same(result.convert("RGB").crop(kept), lanczos(image, 2).crop(kept))
    assert read_parameters(result)["upscale"] == 2
    wrong = http.post("/generate-inpainting", data={**form, "upscale": "3"}, files=files)
    assert (wrong.status_code, wrong.json()["detail"][0]["loc"]) == (422, ["body", "upscale"])


def decoded(text: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(text)))


class TestUpscaleRoute:
    def test_takes_a_form_and_json(self, http: httpx.Client, plain: Image.Image) -> None:
        file = saved(plain)
        by_form = http.post("/upscale", files={"image": file})
        assert same(opened(by_form), lanczos(plain, 2))
        assert by_form.headers["X-Jubako-Upscaler"] == "Lanczos"
        assert SAYS in by_form.headers["X-Jubako-Hint"]
        body = {"image": base64.b64encode(file).decode(), "upscale": 4, "output_format": "jpeg", "quality": 80}
        by_json = http.post("/upscale", json=body)
        assert (opened(by_json).size, by_json.headers["Content-Type"]) == ((256, 256), "image/jpeg")

    def test_the_client_has_it(self, server: str, plain: Image.Image) -> None:
        with Jubako(server) as jubako:
            image = jubako.upscale(saved(plain), upscale=4)
        assert (image.pillow.size, image.model, image.seed) == ((256, 256), "Lanczos", None)
        assert SAYS in str(image.hint)

    def test_so_has_the_command(
        self,
        server: str,
        plain: Image.Image,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.setenv("JUBAKO_CLIENT_URL", server)
        monkeypatch.chdir(tmp_path)
        plain.save("apple.png")
        assert main(["upscale", "apple.png", "-o", "larger.png"]) == 0
        assert same(loaded("larger.png"), lanczos(plain, 2))
        assert SAYS in " ".join(capsys.readouterr().err.split())
        drawing = ["draw", "a red apple", "-m", "tiny", "-s", "7", "--steps", "2", "-q", "--upscale", "4"]
        assert main([*drawing, "-o", "drawn.png"]) == 0
        assert loaded("drawn.png").size == (256, 256)


def test_jobs_have_it(http: httpx.Client) -> None:
    job = http.post("/api/tiny/t2i", json={**ASKED, "width": 64, "height": 64, "upscale": 2}).json()["session_id"]
    wait_for(lambda: http.get(f"/api/{job}/status").json()["status"] == "completed")
    status = http.get(f"/api/{job}/status").json()
    assert SAYS in status["hint"]
    assert opened(http.get(status["result_url"])).size == (128, 128)


@pytest.mark.parametrize(
    ("path", "fields", "field", "says"),
    [
        ("/text_to_image", {"upscale": 3}, "upscale", "2 or 4"),
        ("/text_to_video", {"upscale": 2, "model": "tiny-video"}, "upscale", "not permitted"),
        ("/stream", {"upscale": 2, "model": "tiny-video", "task": "text-to-video"}, "upscale", "only images"),
        ("/text_to_image", {"hires": {"upscaler": "model"}}, "hires.upscaler", "JUBAKO_UPSCALER"),
        ("/upscale", {}, "image", "required"),
        ("/upscale", {"image": "no image"}, "image", "is not an image"),
    ],
)
def test_mistakes_are_named(http: httpx.Client, path: str, fields: dict[str, Any], field: str, says: str) -> None:
    own = {} if path == "/upscale" else {"prompt": "a red apple"}
    response = http.post(path, json={**own, **fields})
    assert response.status_code == 400, response.text
    assert response.json()["field"] == field
    assert says in response.json()["error"]
