"""Images in and out, by one rule in every contract: docs/images.md."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image, ImageOps
from websockets.sync.client import connect

from tests.support.servers.serving import parse_events, photo, png, wait_for
from tests.support.web import client_of

ASKED = {"prompt": "a red apple", "seed": "7", "num_inference_steps": "2", "strength": "0.9"}
WIDE = (192, 96)
"""Of other proportions than most that is asked for."""
PIXEL = base64.b64encode(png(photo())).decode()


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


def graded_mask(width: int, height: int) -> Image.Image:
    """The left third is kept, the right one repainted, and between them is every shade."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (2 * width // 3, 0, width, height))
    ramp = Image.linear_gradient("L").rotate(90).resize((width // 3, height))
    mask.paste(ramp, (width // 3, 0))
    return mask


def cut_out(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with the mask as OpenAI's clients write it: transparent where it is to be repainted."""
    image = image.copy()
    image.putalpha(ImageOps.invert(mask))
    return image


def opened(data: bytes | str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(data) if isinstance(data, str) else data))


def answered(response: httpx.Response) -> httpx.Response:
    assert response.status_code == 200, response.text
    return response


Sent = dict[str, bytes]
Inpaint = Callable[[httpx.Client, Sent, dict[str, str]], Image.Image]


def by_typed_api(http: httpx.Client, files: Sent, fields: dict[str, str]) -> Image.Image:
    return opened(answered(http.post("/inpaint", data=fields, files=files)).content)


def by_stream(http: httpx.Client, files: Sent, fields: dict[str, str]) -> Image.Image:
    text = answered(http.post("/stream", data={**fields, "task": "inpaint"}, files=files)).text
    (image,) = (event.picture for event in parse_events([text]) if event.name == "image")
    return image


def by_job(http: httpx.Client, files: Sent, fields: dict[str, str]) -> Image.Image:
    job = answered(http.post("/api/tiny/inpaint", data=fields, files=files)).json()["session_id"]
    wait_for(lambda: http.get(f"/api/{job}/status").json()["status"] in ("completed", "failed"))
    return opened(answered(http.get(f"/api/{job}/result", follow_redirects=True)).content)


def by_openai(http: httpx.Client, files: Sent, fields: dict[str, str]) -> Image.Image:
    own = {name: value for name, value in fields.items() if name not in ("width", "height")}
    size = {"size": f"{fields['width']}x{fields['height']}"} if "width" in fields else {}
    answer = answered(http.post("/v1/images/edits", data={**own, **size}, files=files)).json()
    return opened(answer["data"][0]["b64_json"])


def by_socket(http: httpx.Client, files: Sent, fields: dict[str, str]) -> Image.Image:
    own = {name: json.loads(value) if name != "prompt" and name != "fit" else value for name, value in fields.items()}
    sent = {name: base64.b64encode(data).decode() for name, data in files.items()}
    with connect(f"{str(http.base_url).replace('http', 'ws')}/v1/images/stream", max_size=None) as socket:
        socket.send(json.dumps({**own, **sent}))
        events = [json.loads(text) for text in socket]
    return opened(next(event["b64_json"] for event in events if event["type"] == "image_edit.completed"))


WAYS: dict[str, Inpaint] = {
    "/inpaint": by_typed_api,
    "/stream": by_stream,
    "/api/tiny/inpaint": by_job,
    "/v1/images/edits": by_openai,
    "WebSocket": by_socket,
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("fit", [None, "crop", "pad", "stretch"])
def test_kept_pixels_are_the_inputs(http: httpx.Client, way: Inpaint, fit: str | None) -> None:
    image, mask = photo(*WIDE), graded_mask(*WIDE)
    sent_mask = cut_out(image, mask) if way in (by_openai, by_socket) else mask
    asked = {**ASKED, "width": "64", "height": "64"} if fit else ASKED
    drawn = way(http, {"image": png(image), "mask": png(sent_mask)}, {**asked, **({"fit": fit} if fit else {})})
    size = (64, 64) if fit else (128, 64)
    assert drawn.size == size
    shown, shown_mask = fitted(image, size, fit, "white"), fitted(mask, size, fit, "black")
    kept = np.asarray(shown_mask) == 0
    changes = np.abs(np.asarray(drawn.convert("RGB"), dtype=int) - np.asarray(shown, dtype=int)).max(axis=-1)
    assert (changes[kept] == 0).all()
    assert kept.any()
    assert changes[np.asarray(shown_mask) == 255].mean() > 8


def fitted(image: Image.Image, size: tuple[int, int], fit: str | None, background: str) -> Image.Image:
    resampling = Image.Resampling.NEAREST if image.mode == "L" else Image.Resampling.LANCZOS
    if fit == "crop":
        return ImageOps.fit(image, size, resampling)
    if fit == "pad":
        return ImageOps.pad(image, size, resampling, background)
    return image.resize(size, resampling)


IMAGE_WAYS = [
    ("/image_to_image", "image", "image"),
    ("/stream", "image", "image"),
    ("/api/tiny/i2i", "image", "image"),
    ("/v1/images/edits", "image", "image"),
    ("/v1/images/variations", "image", "image"),
    ("/generate-inpainting", "input_image", "input_image"),
    ("/inpaint", "mask", "image"),
    ("/text_to_image", "reference_image", "reference_image"),
    ("/text_to_image", "control_image", "control_image"),
    ("/generate", "reference_image", "reference_image"),
]


@pytest.mark.parametrize(("path", "field", "named"), IMAGE_WAYS)
def test_more_than_eight_to_one_is_refused_everywhere(http: httpx.Client, path: str, field: str, named: str) -> None:
    strip = png(photo(9, 1))
    files = {field: strip}
    fields = {"prompt": "a red apple on a blue table"}
    if path == "/stream":
        fields["task"] = "image-to-image"
    if path == "/v1/images/variations":
        del fields["prompt"]
    if path == "/inpaint":
        files["image"] = strip
    if path == "/generate-inpainting":
        files["mask_image"] = strip
    if field == "control_image":
        fields["control_type"] = "canny"
    response = http.post(path, data=fields, files=files)
    assert response.status_code in (400, 422), response.text
    assert named in response.text
    assert "is 9 x 1 pixels; one side may be at most 8 times as long as the other" in response.text


def test_what_is_cut_off_is_told(http: httpx.Client) -> None:
    wanted = "image was cropped to 96x96 of 192x96 pixels; fit=pad keeps all of it"
    files, size = {"image": png(photo(*WIDE))}, {"width": "64", "height": "64"}
    assert (
        answered(http.post("/image_to_image", data={**ASKED, **size}, files=files)).headers["x-jubako-hint"] == wanted
    )
    edited = answered(http.post("/v1/images/edits", data={**ASKED, "size": "64x64"}, files=files))
    assert edited.headers["x-jubako-hint"] == edited.json()["hint"] == wanted
    job = answered(http.post("/api/tiny/i2i", data={**ASKED, **size}, files=files)).json()["session_id"]
    wait_for(lambda: http.get(f"/api/{job}/status").json()["status"] == "completed")
    assert http.get(f"/api/{job}/status").json()["hint"] == wanted
    padded = answered(http.post("/image_to_image", data={**ASKED, **size, "fit": "pad"}, files=files))
    assert "x-jubako-hint" not in padded.headers


class TestOpenAI:
    def test_a_hole_without_a_mask_is_repainted(self, http: httpx.Client) -> None:
        image, mask = photo(), graded_mask(64, 64)
        without = by_openai(http, {"image": png(cut_out(image, mask))}, ASKED)
        kept = np.asarray(mask) == 0
        assert (np.asarray(without)[kept] == np.asarray(image)[kept]).all()
        assert without.info["parameters"].count('"inpaint"') == 1

    def test_an_image_without_a_hole_is_the_start(self, http: httpx.Client) -> None:
        half = photo()
        half.putalpha(128)
        assert '"image-to-image"' in by_openai(http, {"image": png(half)}, ASKED).info["parameters"]

    @pytest.mark.parametrize("names", [("image", "image"), ("image[]", "image[]"), ("image[1]", "image[0]")])
    def test_a_mask_is_the_first_images(self, http: httpx.Client, names: tuple[str, str]) -> None:
        first, mask = photo(), graded_mask(64, 64)
        files = [(name, ("a.png", png(each))) for name, each in zip(names, (first, photo(32, 48)), strict=True)]
        if names[0] == "image[1]":
            files = [(names[0], files[1][1]), (names[1], files[0][1])]
        answer = answered(
            http.post("/v1/images/edits", data=ASKED, files=[*files, ("mask", ("m.png", png(cut_out(first, mask))))])
        )
        kept = np.asarray(mask) == 0
        drawn = opened(answer.json()["data"][0]["b64_json"])
        assert (np.asarray(drawn)[kept] == np.asarray(first)[kept]).all()
        assert answer.json()["hint"] == "of 2 images only the first is used: tiny inpaints one"


@pytest.mark.parametrize("text", [f"data:image/png;base64,{PIXEL}", PIXEL.rstrip("="), f"{PIXEL[:70]}\r\n{PIXEL[70:]}"])
def test_inpainting_takes_base64_in_forms_and_json(http: httpx.Client, text: str) -> None:
    fields = {"prompt": "a red apple", "num_inference_steps": 2, "input_image": text, "mask_image": text}
    for body in ({"data": fields}, {"json": fields}):
        (result,) = answered(http.post("/generate-inpainting", **body)).json()["results"]  # type: ignore[arg-type]
        assert opened(result["data"]).size == photo().size


GZIPPED = ["/text_to_image", "/stream", "/v1/images/generations", "/api/tiny/t2i", "/pipeline/run", "/generate"]


@pytest.mark.parametrize("path", GZIPPED)
def test_every_contract_reads_gzip_and_says_what_it_cannot_read(http: httpx.Client, path: str) -> None:
    wrong: dict[str, Any] = {"prompt": 5}
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    said = http.post(path, content=gzip.compress(json.dumps(wrong).encode()), headers=headers)
    assert said.status_code == 400, said.text
    assert "prompt" in said.text
    broken = http.post(path, content=b"{}", headers=headers)
    assert broken.status_code == 400
    assert "gzip" in broken.text
    other = http.post(path, content=b"{}", headers={**headers, "Content-Encoding": "br"})
    assert other.status_code == 415
    assert "gzip is understood" in other.text
    bomb = http.post(path, content=gzip.compress(bytes(2**26)), headers=headers)
    assert bomb.status_code == 413


def test_a_form_may_be_compressed(http: httpx.Client) -> None:
    request = http.build_request("POST", "/image_to_image", data=ASKED, files={"image": png(photo())})
    headers = {"Content-Type": request.headers["content-type"], "Content-Encoding": "gzip"}
    packed = answered(http.post("/image_to_image", content=gzip.compress(request.read()), headers=headers))
    plain = answered(http.post("/image_to_image", data=ASKED, files={"image": png(photo())}))
    assert packed.content == plain.content
