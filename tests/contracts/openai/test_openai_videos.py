"""OpenAI's Videos API over a real server, as vLLM-Omni's and SGLang's clients write it; OpenAI's own are in
`test_real_clients.py`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.contracts.openai.test_openai import data_url
from tests.support.servers.replica import Replica
from tests.support.servers.serving import decoded, photo, png, wait_for
from tests.support.web import client_of

FRAMES = 5
"""Of a video that nobody sets the length of."""


@pytest.fixture
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


def create(http: httpx.Client, **fields: Any) -> dict[str, Any]:
    answer = http.post("/v1/videos", json={"prompt": "a red apple", **fields})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def ended(http: httpx.Client, video: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {}

    def is_over() -> bool:
        nonlocal shown
        shown = http.get(f"/v1/videos/{video['id']}").json()
        return shown["status"] in ("completed", "failed")

    wait_for(is_over)
    return shown


def refusal(answer: httpx.Response) -> tuple[int, str | None, str]:
    error = answer.json()["error"]
    return answer.status_code, error["param"], error["message"]


class TestAVideo:
    def test_is_a_job_that_both_contracts_know(self, http: httpx.Client) -> None:
        video = create(http, seed=3)
        assert (video["object"], video["status"], video["progress"]) == ("video", "queued", 0)
        done = ended(http, video)
        assert done == {**done, "status": "completed", "model": "tiny-video", "size": "64x64", "seconds": "0.625"}
        assert (video["skipped_steps"], done["skipped_steps"]) == (None, 0)
        assert done["expires_at"] > done["completed_at"] >= done["created_at"]
        job = http.get(f"/api/{video['id']}/status").json()
        assert (job["status"], job["results"][0]["seed"]) == ("completed", 3)
        file = http.get(f"/v1/videos/{video['id']}/content")
        assert file.headers["content-type"] == "video/mp4"
        assert file.content == http.get(job["result_url"]).content

    def test_is_as_long_as_the_frames_come_near_to_the_seconds(self, http: httpx.Client) -> None:
        lengths = {seconds: create(http, seconds=seconds)["seconds"] for seconds in ("1", 2, 0.1, 1.3)}
        assert lengths == {"1": "1.125", 2: "2.125", 0.1: "0.125", 1.3: "1.125"}
        both = create(http, seconds=2, num_frames=5, fps=5)
        assert (both["seconds"], both["hint"]) == ("1", "seconds is ignored: num_frames says how long the video is")

    def test_stands_in_for_sora(self, http: httpx.Client) -> None:
        video = create(http, model="sora-2-pro")
        assert (video["model"], video["hint"]) == (
            "tiny-video",
            "model: sora-2-pro is not here; tiny-video stands in for it",
        )

    def test_comes_once_for_one_idempotency_key(self, http: httpx.Client) -> None:
        body, key = {"prompt": "a red apple"}, {"Idempotency-Key": "video-1"}
        first, again = (http.post("/v1/videos", json=body, headers=key).json()["id"] for _ in range(2))
        assert first == again
        other = http.post("/v1/videos", json={"prompt": "another"}, headers=key)
        assert (other.status_code, other.json()["error"]["code"]) == (422, "idempotency_key_reused")

    def test_may_have_another_format(self, http: httpx.Client) -> None:
        video = ended(http, create(http, output_format="webm"))
        assert http.get(f"/v1/videos/{video['id']}/content").headers["content-type"] == "video/webm"


class TestOthersRequests:
    def test_a_form_of_vllm_omni(self, http: httpx.Client) -> None:
        """vllm-omni 0.30.0, vllm_omni/entrypoints/openai/protocol/videos.py, as its examples fill it in."""
        fields = {"prompt": "a red apple", "negative_prompt": "blurry", "width": 64, "height": 64, "num_frames": 5}
        more = {"fps": 8, "num_inference_steps": 2, "guidance_scale": 4.0, "flow_shift": 5.0, "seed": 42}
        files = {"input_reference": ("photo.png", png(photo()), "image/png")}
        answer = http.post("/v1/videos", data={**fields, **more}, files=files)
        assert answer.status_code == 200, answer.text
        video = ended(http, answer.json())
        assert (video["status"], video["seed"], video["size"]) == ("completed", 42, "64x64")
        assert http.get(f"/api/{video['id']}/status").json()["task"] == "image-to-video"

    def test_an_object_of_vllm_omni(self, http: httpx.Client) -> None:
        """The same file's `VideoParams`, which JSON may have beside OpenAI's fields."""
        params = {"width": 96, "height": 32, "num_frames": 5, "fps": 8}
        video = create(http, video_params=params)
        assert (video["size"], video["seconds"]) == ("96x32", "0.625")
        wrong = http.post("/v1/videos", json={"prompt": "a red apple", "fps": 9, "video_params": params})
        assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "video_params")

    def test_openais_reference_in_a_form(self, http: httpx.Client) -> None:
        """As openai-node 7.59 writes `input_reference: {image_url}`; its sister in Python refuses it itself."""
        form = {"prompt": (None, "a red apple"), "input_reference[image_url]": (None, data_url(photo()))}
        answer = http.post("/v1/videos", files=form)
        assert answer.status_code == 200, answer.text
        assert http.get(f"/api/{answer.json()['id']}/status").json()["task"] == "image-to-video"

    def test_its_reference_in_json(self, http: httpx.Client) -> None:
        video = create(http, image_reference={"image_url": data_url(photo())})
        assert http.get(f"/api/{video['id']}/status").json()["task"] == "image-to-video"

    def test_what_sglangs_client_sends(self, http: httpx.Client) -> None:
        """sglang 0.5.23, multimodal_gen/apps/ComfyUI_SGLDiffusion/core/server_api.py: `generate_video`."""
        body = {"size": "64x64", "seconds": 1, "seed": 1024, "enable_teacache": True, "generator_device": "cuda"}
        video = create(http, **body)
        assert video["seed"] == 1024
        assert "generator_device is ignored: noise does not depend on the device" in video["hint"]
        form = {name: value if isinstance(value, str) else json.dumps(value) for name, value in body.items()}
        files = {"input_reference": ("photo.png", png(photo()), "image/png")}
        started = http.post("/v1/videos", data={"prompt": "a red apple", **form}, files=files)
        assert started.status_code == 200, started.text
        assert http.get(f"/api/{started.json()['id']}/status").json()["task"] == "image-to-video"

    def test_names_and_proportions_of_others(self, http: httpx.Client) -> None:
        video = create(http, steps=2, cfg=2.5, aspectRatio="2:1", seed="aB3dE6gH", seconds="1")
        assert (video["size"], video["hint"]) == ("96x32", f"seed: {video['seed']} stands for the text")
        assert ended(http, video)["status"] == "completed"

    def test_one_that_waits(self, http: httpx.Client) -> None:
        answer = http.post("/v1/videos/sync", json={"prompt": "a red apple", "seed": 5, "seconds": 1})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "video/mp4")
        assert (answer.headers["x-jubako-seed"], answer.headers["x-jubako-model"]) == ("5", "tiny-video")
        assert len(decoded(answer.content)) == 9


class TestTheList:
    def test_has_videos_alone_page_by_page(self, http: httpx.Client) -> None:
        videos = [create(http)["id"] for _ in range(3)]
        http.post("/api/tiny/t2i", json={"prompt": "a red apple"}).raise_for_status()
        first = http.get("/v1/videos", params={"limit": 2}).json()
        assert [each["id"] for each in first["data"]] == videos[:0:-1]
        assert (first["first_id"], first["last_id"], first["has_more"]) == (videos[2], videos[1], True)
        second = http.get("/v1/videos", params={"limit": 1, "after": first["last_id"]}).json()
        assert [each["id"] for each in second["data"]] == videos[:1]
        newer = http.get("/v1/videos", params={"order": "asc", "after": videos[0]}).json()
        assert [each["id"] for each in newer["data"]] == videos[1:]
        assert newer["has_more"] is False


class TestDeleting:
    def test_stops_what_has_not_ended(self, http: httpx.Client) -> None:
        video = create(http, num_inference_steps=500)["id"]
        assert http.delete(f"/v1/videos/{video}").json() == {"id": video, "object": "video.deleted", "deleted": True}
        assert http.get(f"/v1/videos/{video}").status_code == 404
        assert http.get(f"/api/{video}/status").status_code == 404
        assert video not in [each["id"] for each in http.get("/v1/videos").json()["data"]]

    def test_takes_the_file_along(self, http: httpx.Client) -> None:
        video = ended(http, create(http))["id"]
        address = http.get(f"/api/{video}/status").json()["result_url"]
        http.delete(f"/v1/videos/{video}").raise_for_status()
        assert http.get(address).status_code == 404
        assert http.get(f"/v1/videos/{video}/content").status_code == 404

    def test_what_was_cancelled_has_failed(self, http: httpx.Client) -> None:
        video = create(http, num_inference_steps=500)["id"]
        http.delete(f"/api/{video}").raise_for_status()
        shown = http.get(f"/v1/videos/{video}").json()
        assert (shown["status"], shown["error"]["code"]) == ("failed", "cancelled")


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({"prompt": ""}, "prompt", "is empty"),
        ({"seconds": "0"}, "seconds", "greater than 0"),
        ({"seconds": "soon"}, "seconds", "valid number"),
        ({"size": "64"}, "size", "WIDTHxHEIGHT"),
        ({"size": "64x65"}, "size", "multiple of"),
        ({"size": "64x64", "width": 64}, "width", "size is 64x64 already"),
        ({"size": "64x64", "aspect_ratio": "1:1"}, "aspect_ratio", "says the same as the size"),
        ({"num_frames": 6}, "num_frames", "one more than a multiple of"),
        ({"model": "tiny"}, "model", "cannot do text-to-video"),
        ({"model": "nothing"}, "model", "is not served here"),
        ({"input_reference": "https://example.com/a.png"}, "input_reference", "addresses and file names are not"),
        ({"input_reference": {"file_id": "file-1"}}, "input_reference.file_id", "no files are kept here"),
        ({"input_reference": "AAAA"}, "input_reference", "is not an image"),
        ({"guidance_scale": 2, "true_cfg_scale": 2}, "true_cfg_scale", "another name for guidance_scale"),
        ({"speed": 0.5}, "speed", "is not a parameter of this endpoint"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
)
@pytest.mark.parametrize("address", ["/v1/videos", "/v1/videos/sync"])
def test_a_mistake_is_named(address: str, fields: dict[str, Any], param: str, message: str, http: httpx.Client) -> None:
    status, shown, text = refusal(http.post(address, json={"prompt": "a red apple", **fields}))
    assert (status, shown) == (404 if "nothing" in fields.values() else 400, param)
    assert message in text


def test_what_is_no_video_is_unknown(http: httpx.Client) -> None:
    image = http.post("/api/tiny/t2i", json={"prompt": "a red apple"}).json()["session_id"]
    address = f"/v1/videos/{image}"
    remixed = http.post(f"{address}/remix", json={"prompt": "x"})
    for answer in (http.get(address), http.get(f"{address}/content"), http.delete(address), remixed):
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_job")


def test_what_is_not_there_yet_cannot_be_loaded_or_remixed(http: httpx.Client) -> None:
    video = create(http, num_inference_steps=500)["id"]
    for answer in (
        http.get(f"/v1/videos/{video}/content"),
        http.post(f"/v1/videos/{video}/remix", json={"prompt": "another"}),
    ):
        assert (answer.status_code, answer.json()["error"]["code"]) == (409, "video_not_ready")
        assert answer.headers["x-should-retry"] == "false"
    http.delete(f"/v1/videos/{video}").raise_for_status()


@pytest.mark.parametrize(
    ("address", "query", "param"),
    [("", "limit=0", "limit"), ("", "order=up", "order"), ("/x/content", "variant=audio", "variant")],
)
def test_a_wrong_query_is_named(address: str, query: str, param: str, http: httpx.Client) -> None:
    status, shown, _ = refusal(http.get(f"/v1/videos{address}?{query}"))
    assert (status, shown) == (400, param)


def test_it_is_under_the_prefix_too(http: httpx.Client) -> None:
    video = create(http)["id"]
    assert http.get(f"/openai/v1/videos/{video}").json()["id"] == video
