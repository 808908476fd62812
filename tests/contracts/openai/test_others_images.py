"""OpenAI's routes of images as programs call them that run elsewhere: their requests as their sources make them, the
sizes apart, which are those of the tiny model.
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
from tests.support.servers.serving import photo, png
from tests.support.web import WEB, client_of

SIZE = "64x64"


@pytest.fixture
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


def drawn(answer: httpx.Response) -> dict[str, Any]:
    """Return the parameters of the first image of an answer."""
    assert answer.status_code == 200, answer.text
    data = answer.json()["data"][0]
    file = base64.b64decode(data["b64_json"]) if "b64_json" in data else WEB.get(data["url"]).content
    return read_parameters(Image.open(BytesIO(file)))


def test_librechat(http: httpx.Client) -> None:
    """danny-avila/LibreChat at 37d31ec2, api/app/clients/tools/structured/DALLE3.js: `openai.images.generate` with what
    the agent chose.
    """
    body = {"model": "dall-e-3", "quality": "hd", "style": "vivid", "size": SIZE, "prompt": "a red apple", "n": 1}
    answer = http.post("/v1/images/generations", json=body)
    assert drawn(answer)["num_inference_steps"] > 2
    assert "style is ignored" in answer.json()["hint"]


def test_librechats_image_tools(http: httpx.Client) -> None:
    """The same repository at 8731432f, api/app/clients/tools/structured/OpenAIImageTools.js: `image_gen_oai` and
    `image_edit_oai`, whose agent may leave the size to the model.
    """
    body = {"model": "gpt-image-1", "prompt": "a red apple", "n": 1, "background": "auto", "output_format": "png"}
    answer = http.post("/v1/images/generations", json={**body, "quality": "auto", "size": "auto"})
    assert (drawn(answer)["model"], drawn(answer)["width"]) == ("tiny", 64)
    form = {"model": "gpt-image-1", "prompt": "make it blue", "quality": "auto", "size": "auto"}
    edited = http.post("/v1/images/edits", data=form, files=[("image[]", ("photo.png", png(photo()), "image/png"))])
    assert (drawn(edited)["task"], "b64_json" in edited.json()["data"][0]) == ("edit", True)


def test_open_webui(http: httpx.Client) -> None:
    """open-webui 0.12.4, open_webui/routers/images.py: its engine OpenAI, for generating and for editing."""
    body = {"model": "tiny", "prompt": "a red apple", "n": 1, "size": SIZE, "response_format": "b64_json"}
    assert drawn(http.post("/v1/images/generations", json=body))["model"] == "tiny"
    form = {"model": "tiny-edit", "prompt": "make it blue", "n": 1, "size": SIZE, "response_format": "b64_json"}
    edited = http.post("/v1/images/edits", data=form, files=[("image[]", ("a.png", png(photo()), "image/png"))])
    assert drawn(edited)["task"] == "edit"


def test_hints_name_fields_as_the_body_does(http: httpx.Client) -> None:
    body = {"model": "tiny", "prompt": "a red apple", "size": SIZE, "cfg_scale": 1, "negativePrompt": "blur"}
    answer = http.post("/v1/images/generations", json=body | {"response_format": "b64_json"})
    assert "negativePrompt is ignored" in answer.json()["hint"]


def test_n8n(http: httpx.Client) -> None:
    """@n8n/n8n-nodes-langchain 2.41.1, nodes/vendors/OpenAi/v2/actions/image/generate.operation.ts (node 2.3); its base
    address may have no /v1.
    """
    body = {"prompt": "a cute cat", "model": "gpt-image-1-mini", "size": SIZE, "quality": "medium", "n": 1}
    answer = http.post("/images/generations", json=body)
    assert drawn(answer)["model"] == "tiny"
    assert "gpt-image-1-mini is not here; tiny stands in for it" in answer.json()["hint"]
    by_id = {"prompt": "a cute cat", "model": "tiny", "response_format": "url"}
    assert drawn(http.post("/images/generations", json=by_id))["model"] == "tiny"


def test_dify(http: httpx.Client) -> None:
    """azuredalle 0.0.9 of langgenius/dify-official-plugins, tools/azuredalle/tools/dalle3.py: eight letters and digits
    for a seed. Plugin openai 0.1.10 sends the same without one (tools/openai/tools/dalle3.py).
    """
    body = {"model": "dall-e-3", "prompt": "a red apple", "size": SIZE, "n": 1, "quality": "standard"}
    more = {"style": "natural", "response_format": "b64_json"}
    answers = [
        http.post("/openai/deployments/tiny/images/generations", json={**body, **more, "seed": seed})
        for seed in ("aB3dE6gH", "aB3dE6gH", "12345678")
    ]
    seeds = [drawn(answer)["seed"] for answer in answers]
    assert seeds[0] == seeds[1] != seeds[2] == 12345678
    assert f"seed: {seeds[0]} stands for the text" in answers[0].json()["hint"]


def test_lobehub(http: httpx.Client) -> None:
    """lobehub/lobe-chat at d05cf920, packages/model-runtime/src/core/openaiCompatibleFactory/createImage.ts: what the
    user set goes out as it is.
    """
    body = {"model": "tiny", "n": 1, "prompt": "a red apple", "width": 128, "height": 64, "steps": 3, "cfg": 2.5}
    parameters = drawn(http.post("/v1/images/generations", json={**body, "seed": None, "samplerName": "euler"}))
    assert {name: parameters[name] for name in ("width", "height", "num_inference_steps", "guidance_scale")} == {
        "width": 128,
        "height": 64,
        "num_inference_steps": 3,
        "guidance_scale": 2.5,
    }
    assert parameters["scheduler"] == "euler"


def test_proportions_stand_for_a_size(http: httpx.Client) -> None:
    for ratio, size in (("2:1", (96, 48)), ("1:1", (64, 64)), ("9:16", (48, 80))):
        parameters = drawn(
            http.post("/images/generations", json={"prompt": "a", "model": "tiny", "aspectRatio": ratio})
        )
        assert (parameters["width"], parameters["height"]) == size


DYNAMOS = {"negative_prompt": "blurry", "num_inference_steps": 3, "guidance_scale": 2.5, "seed": 7}


def test_dynamo(http: httpx.Client) -> None:
    """ai-dynamo/dynamo at 0f523b3f, lib/llm/src/protocols/openai/media_fixtures/image_request.json, whose background is
    opaque here.
    """
    body = {
        "prompt": "A cat on a windowsill.",
        "model": "tiny",
        "n": 2,
        "quality": "high",
        "user": "user-1",
        "response_format": "b64_json",
        "output_format": "webp",
        "output_compression": 80,
        "stream": False,
        "partial_images": 0,
        "size": SIZE,
        "moderation": "low",
        "background": "opaque",
        "style": "natural",
        "nvext": {"annotations": ["request_id"], **DYNAMOS},
    }
    answer = http.post("/v1/images/generations", json=body)
    said = drawn(answer)
    assert {name: said[name] for name in DYNAMOS} == DYNAMOS
    assert "annotations is ignored" in answer.json()["hint"]
    wrong = http.post("/v1/images/generations", json={**body, "seed": 8})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "nvext")
    wrong = http.post("/v1/images/generations", json={**body, "input_reference": "https://a.example/b.png"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "input_reference")
    wrong = http.post("/v1/images/generations", json={**body, "nvext": 7})
    assert wrong.json()["error"]["message"] == "nvext: must be an object"


def test_dynamos_videos(http: httpx.Client) -> None:
    """The same folder's video_request.json, without what its frontend streams: a video is a job here."""
    nvext = {**DYNAMOS, "annotations": ["request_id"], "fps": 8, "num_frames": 5, "boundary_ratio": 0.875}
    body = {"prompt": "A cat walks.", "model": "tiny-video", "seconds": 1, "size": SIZE, "user": "user-1"}
    answer = http.post("/v1/videos", json={**body, "output_format": "mp4", "nvext": nvext})
    assert answer.status_code == 200, answer.text
    assert "boundary_ratio is ignored" in answer.text


def test_llamaindex(http: httpx.Client) -> None:
    """llama-index-tools-openai-image-generation 0.7.0, llama_index/tools/openai/image_generation/base.py, with
    OPENAI_BASE_URL; it knows OpenAI's sizes alone.
    """
    body = {"prompt": "a red apple", "n": 1, "model": "dall-e-3", "quality": "standard", "size": SIZE, "style": "vivid"}
    asked = {**body, "response_format": "b64_json"}
    assert drawn(http.post("/v1/images/generations", json=asked))["model"] == "tiny"
    assert drawn(http.post("/v1/images/generations", json={**body, "response_format": "url"}))["model"] == "tiny"


def test_nextcloud(http: httpx.Client) -> None:
    """nextcloud/integration_openai 5.0.0, lib/Service/OpenAiAPIService.php, `requestImageCreation`: the model that it
    was told to use, and addresses.
    """
    body = {"prompt": "a red apple", "size": SIZE, "n": 2, "model": "dall-e-2"}
    answer = http.post("/v1/images/generations", json=body)
    assert drawn(answer)["width"] == 64
    assert [data["url"][:4] for data in answer.json()["data"]] == ["http", "http"]


def test_sglangs_client(http: httpx.Client) -> None:
    """sglang 0.5.23, multimodal_gen/apps/ComfyUI_SGLDiffusion/core/server_api.py: `generate_image`, which names no
    model; the first one here only edits.
    """
    common = {"prompt": "a red apple", "size": SIZE, "n": 1, "response_format": "b64_json", "seed": 1024}
    more = {"background": "auto", "generator_device": "cuda"}
    generated = {**common, **more, "quality": "auto", "style": "vivid", "model": "tiny"}
    answer = http.post("/v1/images/generations", json=generated)
    assert drawn(answer)["seed"] == 1024
    assert "generator_device is ignored" in answer.json()["hint"]
    files = {"image": ("photo.png", png(photo()), "image/png")}
    edited = http.post("/v1/images/edits", data={**common, **more, "enable_teacache": True}, files=files)
    assert drawn(edited)["task"] == "edit"


@pytest.mark.parametrize("address", ["/images", "/openai/images", "/openai/deployments/tiny-edit/images"])
def test_every_route_without_a_version(address: str, http: httpx.Client) -> None:
    files = {"image": ("photo.png", png(photo()), "image/png")}
    edited = http.post(f"{address}/edits", data={"prompt": "blue", "model": "tiny-edit"}, files=files)
    assert drawn(edited)["task"] == "edit"
    varied = http.post(f"{address}/variations", data={"model": "tiny"}, files=files)
    assert varied.status_code == (400 if "deployments" in address else 200)


def test_a_random_seed_is_what_minus_one_says(http: httpx.Client) -> None:
    seeds = {
        drawn(http.post("/images/generations", json={"prompt": "a", "model": "tiny", "seed": -1}))["seed"]
        for _ in range(2)
    }
    assert len(seeds) == 2


@pytest.mark.parametrize(
    ("address", "body", "status", "param"),
    [
        ("/images/generations", {"steps": 0}, 400, "steps"),
        ("/images/generations", {"steps": 3, "num_inference_steps": 4}, 400, "steps"),
        ("/images/generations", {"cfg": "much"}, 400, "cfg"),
        ("/images/generations", {"seed": [1]}, 400, "seed"),
        ("/images/generations", {"model": "dall-e"}, 200, None),
        ("/images/generations", {"model": "stable-diffusion-9"}, 404, "model"),
        ("/images/generations", {"aspectRatio": "wide"}, 400, "aspectRatio"),
        ("/images/generations", {"aspectRatio": "1:1", "size": "64x64"}, 400, "aspectRatio"),
        ("/openai/deployments/nothing/images/generations", {}, 404, "model"),
        ("/images/nothing", {}, 404, None),
        ("/openai/deployments/tiny/nothing", {}, 404, None),
    ],
)
def test_what_would_mislead_is_refused(
    address: str, body: dict[str, Any], status: int, param: str | None, http: httpx.Client
) -> None:
    answer = http.post(address, json={"prompt": "a red apple", "model": "tiny", **body})
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["error"]["param"] == param
