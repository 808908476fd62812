"""The Bento as its callers see it: a real server, real clients, tiny random weights."""

from __future__ import annotations

import asyncio
import base64
import json
import pickle
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import av
import bentoml
import httpx
import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from PIL import Image
from safetensors.torch import save
from websockets.sync.client import connect

from tests.support.metadata import read_comment, read_parameters
from tests.support.pickles import PICKLE, Attack
from tests.support.raw_sockets import asking
from tests.support.servers.serving import (
    MAX_UPLOAD_BYTES,
    cancelled,
    decoded,
    half_mask,
    parse_events,
    photo,
    png,
    wait_for,
)
from tests.support.web import WEB, client_of
from tests.tiny.loras import kohya_name, made, shapes_of

RED_APPLE = {"prompt": "a red apple", "seed": 7}
A_VIDEO = {**RED_APPLE, "model": "tiny-video"}
ENDLESS = {**RED_APPLE, "num_inference_steps": 900, "width": 128}


@pytest.fixture(scope="module")
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def picture_file(tmp_path: Path) -> Path:
    file = tmp_path / "photo.png"
    photo().save(file)
    return file


@pytest.fixture
def mask_file(tmp_path: Path) -> Path:
    file = tmp_path / "mask.png"
    half_mask().save(file)
    return file


def opened(response: httpx.Response) -> Image.Image:
    assert response.status_code == 200, response.text
    return Image.open(BytesIO(response.content))


def watched(response: httpx.Response) -> tuple[list[Image.Image], float]:
    """Return a video's frames and how many of them are shown a second."""
    assert response.status_code == 200, response.text
    with av.open(BytesIO(response.content), "r") as container:
        fps = float(container.streams.video[0].average_rate or 0)
    return decoded(response.content), fps


def refused(response: httpx.Response, status: int = 400) -> dict[str, Any]:
    assert response.status_code == status, response.text
    body: dict[str, Any] = response.json()
    return body


class TestTextToImage:
    def test_a_prompt_becomes_a_picture(self, http: httpx.Client) -> None:
        response = http.post("/text_to_image", json={"prompt": "a red apple"})
        assert opened(response).size == (64, 64)
        assert response.headers["content-type"] == "image/png"
        assert response.headers["x-jubako-model"] == "tiny"
        assert int(response.headers["x-jubako-queue-ms"]) >= 0
        assert int(response.headers["x-jubako-run-ms"]) > 0

    def test_the_seed_that_was_used_draws_the_same_picture(self, http: httpx.Client) -> None:
        first = http.post("/text_to_image", json={"prompt": "a red apple"})
        seed = int(first.headers["x-jubako-seed"])
        second = http.post("/text_to_image", json={"prompt": "a red apple", "seed": seed})
        other = http.post("/text_to_image", json={"prompt": "a red apple", "seed": seed + 1})
        assert first.content == second.content != other.content

    def test_what_cannot_act_is_in_the_hint(self, http: httpx.Client) -> None:
        asked = {**RED_APPLE, "quality": 50, "control_scale": 0.5}
        expected = "control_scale is ignored: there is no control_image; quality is ignored: png has none"
        assert http.post("/text_to_image", json=asked).headers["x-jubako-hint"] == expected
        started, *_ = parse_events([http.post("/stream", json={**asked, "strength": 0.5}).text])
        assert started.data["hint"] == f"strength is ignored: text-to-image has none; {expected}"

    @pytest.mark.parametrize("output_format", ["png", "jpeg", "webp"])
    def test_a_picture_posted_back_as_its_metadata_is_the_same_file(
        self, http: httpx.Client, output_format: str
    ) -> None:
        asked = {**RED_APPLE, "output_format": output_format, "scheduler": "euler", "guidance_scale": 1.5}
        first = http.post("/text_to_image", json=asked)
        assert first.headers["content-type"] == f"image/{output_format}"
        again = http.post("/text_to_image", json=read_parameters(opened(first)))
        assert again.content == first.content

    def test_what_was_tuned_and_weighed_is_in_the_metadata(self, http: httpx.Client) -> None:
        tuned = {"prompt": "a (red:1.6) apple", "prompt_syntax": "a1111", "clip_skip": 1, "guidance_rescale": 0.5}
        steps = {"scheduler": "Heun", "timesteps": "999,600,200"}
        first = http.post("/text_to_image", data={**RED_APPLE, **tuned, **steps})
        kept = read_parameters(opened(first))
        assert {name: kept[name] for name in tuned} == tuned
        assert (kept["scheduler"], kept["timesteps"], kept["num_inference_steps"]) == ("heun", [999, 600, 200], 3)
        assert http.post("/text_to_image", json=kept).content == first.content

    def test_parameters_reach_the_pipeline(self, http: httpx.Client) -> None:
        changes: list[dict[str, Any]] = [
            {},
            {"num_inference_steps": 6},
            {"guidance_scale": 9},
            {"negative_prompt": "blurry"},
            {"scheduler": "dpmpp_2m"},
            {"scheduler": "DPM++ 2M SDE Karras"},
            {"clip_skip": 1},
            {"eta": 1.0},
            {"scheduler": "euler", "sigmas": "14.6,6.3,0.03"},
            {"prompt": "a (red:1.6) apple", "prompt_syntax": "a1111"},
            {"prompt": "a blue apple"},
            {"model": "tiny-xl"},
        ]
        pictures = {opened(http.post("/text_to_image", json={**RED_APPLE, **change})).tobytes() for change in changes}
        assert len(pictures) == len(changes)

    def test_sizes_are_those_asked_for(self, http: httpx.Client) -> None:
        response = http.post("/text_to_image", json={**RED_APPLE, "width": 96, "height": 48})
        assert opened(response).size == (96, 48)

    def test_a_prompt_that_looks_like_json_is_still_text(self, http: httpx.Client) -> None:
        for prompt in ("42", "true", '{"a": 1}'):
            response = http.post("/text_to_image", data={"prompt": prompt, "seed": "1"})
            assert read_parameters(opened(response))["prompt"] == prompt

    def test_a_word_the_model_never_saw_gives_a_picture_and_a_hint(self, http: httpx.Client) -> None:
        known = http.post("/text_to_image", json={"prompt": "a red apple"})
        unknown = http.post("/text_to_image", json={"prompt": "a red zebra, ÿber\n猫"})
        assert "x-jubako-hint" not in known.headers
        assert "zebra" in unknown.headers["x-jubako-hint"]
        assert opened(unknown).size == (64, 64)

    def test_every_contract_says_what_of_a_prompt_is_ignored(self, http: httpx.Client, server: str) -> None:
        """The tiny model reads 22 tokens, and knows five words."""
        asked = {"prompt": "zebra " + "a red apple " * 30, "seed": 7}
        said: list[Any] = [http.post("/text_to_image", json=asked).headers["x-jubako-hint"]]
        streamed = parse_events(http.post("/stream", json=asked).text)
        said.append(next(event.data["hint"] for event in streamed if event.name == "started"))
        generated = http.post("/v1/images/generations", json=asked)
        said += [generated.headers["x-jubako-hint"], generated.json()["hint"]]
        lines = http.post("/v1/images/generations", json={**asked, "stream": True}).text.splitlines()
        said.append(json.loads([line for line in lines if line.startswith("data: ")][-1][6:])["hint"])
        with connect(f"{server.replace('http', 'ws')}/v1/images/stream", max_size=None) as socket:
            socket.send(json.dumps(asked))
            said.append(next(event["hint"] for event in map(json.loads, socket) if event["type"] == "started"))
        files = {"input_image": png(photo()), "mask_image": png(half_mask())}
        inpainted = http.post("/generate-inpainting", data=asked, files=files)
        said += [inpainted.headers["x-jubako-hint"], inpainted.json()["hint"]]
        job = http.post("/api/tiny/t2i", json={**asked, "num_inference_steps": 2}).json()["session_id"]
        wait_for(lambda: http.get(f"/api/{job}/status").json()["status"] == "completed")
        said.append(http.get(f"/api/{job}/status").json()["hint"])
        assert http.post("/pipeline/run", json={"prompt": asked["prompt"]}).status_code == 200
        wait_for(lambda: http.get("/pipeline/status").json()["completed"])
        for hint in said:
            assert "unknown words: zebra" in hint
            # It is longer than the text encoder's window, and all of it is read.
            assert "too long" not in hint
        # Its model is another, and knows any word.
        for path in ("/pipeline/status", "/pipeline/image"):
            assert "x-jubako-hint" not in http.get(path).headers

    def test_the_metadata_say_what_the_automatic_choice_was(self, http: httpx.Client) -> None:
        plain = http.post("/text_to_image", json=RED_APPLE)
        automatic = http.post("/text_to_image", json={**RED_APPLE, "step_cache": "auto"})
        assert automatic.headers["x-jubako-skipped-steps"] == "0"
        assert automatic.content == plain.content
        # Whatever the server's default is when they are posted.
        assert read_parameters(opened(plain))["step_cache"] == "off"

    def test_callers_at_the_same_time_get_the_pictures_they_would_get_alone(self, http: httpx.Client) -> None:
        asked = [{"prompt": "a red apple", "seed": seed, "num_inference_steps": 3 + seed} for seed in range(6)]
        alone = [opened(http.post("/text_to_image", json=fields)) for fields in asked]
        with ThreadPoolExecutor(6) as callers:
            together = list(callers.map(lambda fields: opened(http.post("/text_to_image", json=fields)), asked))
        for one, other in zip(alone, together, strict=True):
            difference = np.abs(np.asarray(one, dtype=int) - np.asarray(other, dtype=int)).max()
            assert difference <= 1  # rounding: sums are ordered differently in larger batches

    async def test_more_callers_than_a_usual_connection_pool_holds_are_all_served(self, server: str) -> None:
        asked = {"prompt": "a red apple", "num_inference_steps": 1, "width": 32, "height": 32}
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=server, timeout=120, limits=limits) as callers:
            answers = await asyncio.gather(
                *(callers.post("/text_to_image", json={**asked, "seed": seed}) for seed in range(220))
            )
        assert [answer.status_code for answer in answers] == [200] * 220

    def test_json_is_understood_without_its_media_type(self, http: httpx.Client) -> None:
        """As `curl -d` sends it."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        answer = http.post("/text_to_image", content=json.dumps(RED_APPLE), headers=headers)
        assert answer.headers["content-type"] == "image/png"


class TestImages:
    def test_an_image_is_drawn_over_in_its_own_fitted_size(self, http: httpx.Client) -> None:
        response = http.post("/image_to_image", data={"prompt": "a red apple"}, files={"image": png(photo(100, 70))})
        assert opened(response).size == (96, 64)

    def test_strength_says_how_much_changes(self, http: httpx.Client) -> None:
        def change(strength: float) -> float:
            data = {
                "prompt": "a red apple",
                "seed": "3",
                "strength": str(strength),
                "num_inference_steps": "20",
            }
            response = http.post("/image_to_image", data=data, files={"image": png(photo())})
            return float(np.abs(np.asarray(opened(response), dtype=float) - np.asarray(photo())).mean())

        assert change(0.1) < change(0.9)

    def test_inpainting_answers_with_a_picture_of_the_task(self, http: httpx.Client) -> None:
        files = {"image": png(photo()), "mask": png(half_mask())}
        response = http.post("/inpaint", data={"prompt": "a red apple"}, files=files)
        assert read_parameters(opened(response))["task"] == "inpaint"

    def test_images_may_come_as_base64_in_json(self, http: httpx.Client) -> None:
        data = png(photo())
        fields = {"prompt": "a red apple", "seed": 1}
        uploaded = http.post("/image_to_image", data=fields, files={"image": data})
        encoded = base64.b64encode(data).decode()
        for text in (encoded, f"data:image/png;base64,{encoded}"):
            assert http.post("/image_to_image", json={**fields, "image": text}).content == uploaded.content

    @pytest.mark.parametrize("content_type", ["image/xyz", "text/plain", "application/octet-stream"])
    def test_what_a_file_claims_to_be_does_not_matter(self, http: httpx.Client, content_type: str) -> None:
        files = {"image": ("photo.bin", png(photo()), content_type)}
        assert opened(http.post("/image_to_image", data={"prompt": "a red apple"}, files=files))


class TestVideos:
    def test_a_prompt_becomes_a_video_that_plays(self, http: httpx.Client) -> None:
        response = http.post("/text_to_video", json={**A_VIDEO, "num_frames": 9, "fps": 12})
        frames, fps = watched(response)
        assert (len(frames), fps, frames[0].size) == (9, 12, (64, 64))
        assert response.headers["content-type"] == "video/mp4"
        assert (response.headers["x-jubako-model"], response.headers["x-jubako-seed"]) == ("tiny-video", "7")

    def test_an_image_becomes_a_video_of_its_fitted_size(self, http: httpx.Client) -> None:
        response = http.post("/image_to_video", data=A_VIDEO, files={"image": png(photo(100, 70))})
        frames, fps = watched(response)
        assert (len(frames), fps, frames[0].size) == (5, 8, (96, 64))

    @pytest.mark.parametrize(
        ("output_format", "media_type"), [("mp4", "video/mp4"), ("webm", "video/webm"), ("gif", "image/gif")]
    )
    def test_each_format_can_be_watched(self, http: httpx.Client, output_format: str, media_type: str) -> None:
        response = http.post("/text_to_video", json={**A_VIDEO, "output_format": output_format})
        assert response.headers["content-type"] == media_type
        assert len(watched(response)[0]) == 5

    def test_a_video_posted_back_as_its_metadata_is_the_same_file(self, http: httpx.Client) -> None:
        first = http.post("/text_to_video", json={**A_VIDEO, "num_frames": 9, "quality": 50})
        comment = read_comment(first.content)
        assert comment is not None
        assert http.post("/text_to_video", json=json.loads(comment)).content == first.content

    def test_videos_are_streamed_with_their_progress(self, http: httpx.Client) -> None:
        asked = {**A_VIDEO, "task": "text-to-video", "num_images": 2, "preview_every": 4, "output_format": "webm"}
        events = parse_events([http.post("/stream", json=asked).text])
        names = [event.name for event in events]
        assert [names.count(name) for name in ("step", "preview", "video", "done")] == [8, 2, 2, 1]
        assert events[-1].data["videos"] == 2
        videos = {event.data["seed"]: event.data for event in events if event.name == "video"}
        assert {video["media_type"] for video in videos.values()} == {"video/webm"}
        alone = http.post("/text_to_video", json={**videos[8]["parameters"], "output_format": "gif"})
        assert len(watched(alone)[0]) == len(decoded(base64.b64decode(videos[8]["video"]))) == 5

    @pytest.mark.parametrize(
        ("path", "fields", "field", "says"),
        [
            ("/text_to_video", {"num_frames": 6}, "num_frames", "6 is not one more than a multiple of 4"),
            ("/text_to_video", {"num_frames": 21}, "num_frames", "21 is not between 1 and 17"),
            ("/text_to_video", {"fps": 0}, "fps", "greater than or equal to 1, got 0"),
            ("/text_to_video", {"output_format": "png"}, "output_format", "choose one of mp4, webm, gif"),
            ("/text_to_video", {"model": "tiny"}, "task", "tiny cannot do text-to-video"),
            ("/text_to_video", {"strength": 0.5}, "strength", "not permitted"),
            ("/image_to_video", {}, "image", "required"),
            ("/text_to_image", {"model": "tiny", "fps": 8}, "fps", "not permitted"),
            ("/text_to_image", {"model": "tiny", "output_format": "mp4"}, "output_format", "one of png, jpeg, webp"),
            ("/stream", {"model": "tiny", "fps": 0}, "fps", "greater than or equal to 1, got 0"),
            ("/stream", {"model": "tiny", "output_format": "gif"}, "output_format", "one of png, jpeg, webp"),
        ],
    )
    def test_what_does_not_fit_is_refused(
        self, http: httpx.Client, path: str, fields: dict[str, Any], field: str, says: str
    ) -> None:
        body = refused(http.post(path, json={**A_VIDEO, **fields}))
        assert body["field"] == field
        assert says in body["error"]

    def test_a_last_frame_is_refused_where_the_model_takes_none(self, http: httpx.Client) -> None:
        files = {"image": png(photo(100, 70)), "last_image": png(photo(70, 70))}
        body = refused(http.post("/image_to_video", data=A_VIDEO, files=files))
        assert (body["field"], body["error"]) == ("last_image", "last_image: tiny-video takes none")

    def test_a_client_gets_a_file(self, server: str, picture_file: Path) -> None:
        with bentoml.SyncHTTPClient(server, timeout=120) as client:
            made = client.text_to_video(prompt="a red apple", model="tiny-video")
            assert len(decoded(made.read_bytes())) == 5
            moved = client.image_to_video(prompt="a red apple", model="tiny-video", image=picture_file)
            assert len(decoded(moved.read_bytes())) == 5


class TestRefusals:
    @pytest.mark.parametrize(
        ("fields", "field", "says"),
        [
            ({}, "prompt", "required"),
            ({"prompt": ""}, "prompt", "empty"),
            ({"prompt": "x" * 32_001}, "prompt", "at most 32000"),
            ({"prompt": 3}, "prompt", "string"),
            ({"width": 65}, "width", "65 is not a multiple of 16"),
            ({"width": 4096}, "width", "4096 is not between 32 and 128"),
            ({"width": 128, "height": 128}, "width", "at most 8192"),
            ({"height": "tall"}, "height", "'tall'"),
            ({"num_inference_steps": 0}, "num_inference_steps", "greater than or equal to 1, got 0"),
            ({"num_inference_steps": 5000}, "num_inference_steps", "between 1 and 900"),
            ({"scheduler": "magic"}, "scheduler", "'magic'"),
            ({"seed": -2}, "seed", "got -2"),
            ({"num_images": 2}, "num_images", "/stream"),
            ({"output_format": "bmp"}, "output_format", "'bmp'"),
            ({"quality": 101}, "quality", "got 101"),
            ({"promt": "x"}, "promt", "not permitted"),
            ({"deadline_s": 1e9}, "deadline_s", "the most this server allows"),
        ],
    )
    def test_a_wrong_field_is_named_with_its_value_or_limit(
        self, http: httpx.Client, fields: dict[str, Any], field: str, says: str
    ) -> None:
        asked = fields if not fields or "prompt" in fields else {"prompt": "a red apple", **fields}
        body = refused(http.post("/text_to_image", json=asked))
        assert (body["code"], body["field"]) == ("invalid_request", field)
        assert body["error"].startswith(f"{field}: ")
        assert says in body["error"]
        assert body["detail"][0]["loc"] == [field]

    def test_an_unknown_model_is_not_found(self, http: httpx.Client) -> None:
        body = refused(http.post("/text_to_image", json={**RED_APPLE, "model": "sd9"}), 404)
        assert body["code"] == "unknown_model"
        assert "tiny, tiny-xl" in body["error"]

    @pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b'"text"'])
    def test_a_body_that_is_no_json_object_is_refused(self, http: httpx.Client, body: bytes) -> None:
        headers = {"content-type": "application/json"}
        assert refused(http.post("/text_to_image", content=body, headers=headers))["field"] == "body"

    def test_a_broken_form_is_refused(self, http: httpx.Client) -> None:
        headers = {"content-type": "multipart/form-data"}
        assert refused(http.post("/inpaint", content=b"x", headers=headers))["field"] == "body"

    @pytest.mark.parametrize(
        ("files", "field", "says"),
        [
            ({}, "image", "required"),
            ({"image": b"hello"}, "image", "not an image"),
            ({"image": png(photo())[:80]}, "image", "damaged"),
            ({"image": png(Image.new("1", (513, 512)))}, "image", "513 x 512 pixels; at most 262144"),
            ({"image": png(photo()), "mask": b"hello"}, "mask", "not an image"),
            ({"image": png(photo()), "mask": png(half_mask(32, 64))}, "mask", "32x64"),
            ({"image": png(photo())}, "mask", "required"),
        ],
    )
    def test_files_that_cannot_be_used_are_refused(
        self, http: httpx.Client, files: dict[str, bytes], field: str, says: str
    ) -> None:
        body = refused(http.post("/inpaint", data={"prompt": "a red apple"}, files=files))
        assert body["field"] == field
        assert says in body["error"]

    def test_no_address_is_ever_fetched(self, http: httpx.Client) -> None:
        visits: list[str] = []

        class Trap(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                visits.append(self.path)

        with HTTPServer(("127.0.0.1", 0), Trap) as trap:
            threading.Thread(target=trap.serve_forever, daemon=True).start()
            url = f"http://127.0.0.1:{trap.server_port}/a.png"
            fields = {"prompt": "a red apple", "image": url}
            as_form = refused(http.post("/image_to_image", data=fields))
            as_json = refused(http.post("/image_to_image", json=fields))
            as_body = refused(http.post("/image_to_image", content=url))
            trap.shutdown()
        assert as_form["field"] == as_json["field"] == "image"
        assert as_body["field"] == "body"
        assert visits == []

    def test_pickles_are_refused(self, http: httpx.Client) -> None:
        headers = {"content-type": "application/vnd.bentoml+pickle"}
        assert http.post("/text_to_image", content=b"x", headers=headers).status_code == 415

    def test_a_body_that_is_too_large_is_refused_with_the_limit(self, http: httpx.Client) -> None:
        files = {"image": bytes(MAX_UPLOAD_BYTES)}
        body = refused(http.post("/image_to_image", data={"prompt": "x"}, files=files), 413)
        assert str(MAX_UPLOAD_BYTES) in body["error"]

    def test_a_body_of_unknown_length_is_counted(self, http: httpx.Client) -> None:
        chunks = (bytes(2**16) for _ in range(2 * MAX_UPLOAD_BYTES // 2**16))
        assert refused(http.post("/text_to_image", content=chunks), 413)["code"] == "too_large"

    def test_a_deadline_that_passes_is_a_gateway_timeout(self, http: httpx.Client) -> None:
        asked = {**RED_APPLE, "num_inference_steps": 900, "deadline_s": 0.2}
        assert refused(http.post("/text_to_image", json=asked), 504)["code"] == "deadline_exceeded"


class TestStream:
    def test_everything_that_happens_is_told_in_order(self, http: httpx.Client) -> None:
        asked = {**RED_APPLE, "num_images": 2, "preview_every": 2}
        response = http.post("/stream", json=asked)
        assert response.headers["content-type"].startswith("text/event-stream")
        events = parse_events([response.text])
        names = [event.name for event in events]
        assert next(name for name in names if name != "queued") == "started"
        assert names[-1] == "done"
        assert [names.count(name) for name in ("step", "preview", "image")] == [8, 4, 2]
        assert events[-1].data["images"] == 2
        steps = [(e.data["step"], e.data["steps"]) for e in events if e.name == "step" and e.data["index"] == 1]
        assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]

    def test_each_picture_can_be_had_again_alone(self, http: httpx.Client) -> None:
        response = http.post("/stream", json={**RED_APPLE, "num_images": 3, "progress": False})
        images = [event for event in parse_events([response.text]) if event.name == "image"]
        assert [image.data["seed"] for image in images] == [7, 8, 9]
        for image in images:
            alone = http.post("/text_to_image", json=image.data["parameters"])
            difference = np.asarray(opened(alone), dtype=int) - np.asarray(image.picture, dtype=int)
            assert np.abs(difference).max() <= 1

    def test_every_task_can_be_streamed(self, http: httpx.Client) -> None:
        files = {"image": png(photo()), "mask": png(half_mask())}
        for task, needed in (("text-to-image", []), ("image-to-image", ["image"]), ("inpaint", list(files))):
            data = {"prompt": "a red apple", "task": task, "output_format": "webp"}
            sent = {name: files[name] for name in needed}
            events = parse_events([http.post("/stream", data=data, files=sent).text])
            assert events[-2].picture.format == "WEBP"
            assert events[-2].data["parameters"]["task"] == task

    def test_previews_are_small_pictures(self, http: httpx.Client) -> None:
        events = parse_events([http.post("/stream", json={**RED_APPLE, "preview_every": 4}).text])
        (preview,) = [event for event in events if event.name == "preview"]
        assert preview.picture.size == (8, 8)

    def test_a_refusal_is_no_stream(self, http: httpx.Client) -> None:
        assert refused(http.post("/stream", json={**RED_APPLE, "width": 65}))["field"] == "width"
        assert refused(http.post("/stream", json={"prompt": "x", "task": "inpaint"}))["field"] == "image"

    def test_a_failure_on_the_way_is_the_last_event(self, http: httpx.Client) -> None:
        asked = {**RED_APPLE, "num_inference_steps": 900, "deadline_s": 0.5}
        last = parse_events([http.post("/stream", json=asked).text])[-1]
        assert (last.name, last.data["code"], last.data["status"]) == ("error", "deadline_exceeded", 504)


class TestLeaving:
    """A caller who goes away frees the engine."""

    def running(self, http: httpx.Client) -> int:
        return sum(model["running"] for model in http.get("/health").json()["models"])

    def test_from_a_picture(self, http: httpx.Client, server: str) -> None:
        wait_for(lambda: self.running(http) == 0)
        before = cancelled(server)
        with asking(server, "/text_to_image", ENDLESS):
            wait_for(lambda: self.running(http) == 1)
        wait_for(lambda: cancelled(server) > before)
        wait_for(lambda: self.running(http) == 0)

    def test_from_a_stream(self, http: httpx.Client, server: str) -> None:
        wait_for(lambda: self.running(http) == 0)
        before = cancelled(server)
        with http.stream("POST", "/stream", json=ENDLESS) as response:
            for line in response.iter_lines():
                if line == "event: step":
                    break
        wait_for(lambda: cancelled(server) > before)
        wait_for(lambda: self.running(http) == 0)


class TestClients:
    def test_the_synchronous_client_calls_every_api(self, server: str, picture_file: Path, mask_file: Path) -> None:
        with bentoml.SyncHTTPClient(server, timeout=120) as client:
            drawn = client.text_to_image(prompt="a red apple", seed=1, output_format="jpeg")
            assert (drawn.format, drawn.size) == ("JPEG", (64, 64))
            over = client.image_to_image(prompt="a red apple", image=picture_file, strength=0.5)
            assert read_parameters(over)["prompt"] == "a red apple"
            with Image.open(picture_file) as photograph:
                part = client.inpaint(prompt="a red apple", image=photograph, mask=mask_file)
            assert part.size == (64, 64)
            events = parse_events(client.stream(prompt="a red apple", num_images=2))
            assert [event.name for event in events].count("image") == 2

    async def test_the_asynchronous_client_calls_every_api(
        self, server: str, picture_file: Path, mask_file: Path
    ) -> None:
        async with bentoml.AsyncHTTPClient(server, timeout=120) as client:
            pictures = await asyncio.gather(
                client.text_to_image("a red apple"),
                client.image_to_image(prompt="a red apple", image=picture_file),
                client.inpaint(prompt="a red apple", image=picture_file, mask=mask_file),
            )
            assert [picture.size for picture in pictures] == [(64, 64)] * 3
            stream = client.stream(prompt="a red apple", task="image-to-image", image=picture_file)
            assert parse_events([text async for text in stream])[-1].name == "done"

    def test_a_client_sees_the_reason_of_a_refusal(self, server: str) -> None:
        with (
            bentoml.SyncHTTPClient(server, timeout=120) as client,
            pytest.raises(bentoml.exceptions.BentoMLException, match="65 is not a multiple of 16"),
        ):
            client.text_to_image(prompt="a red apple", width=65)


class TestStatus:
    def test_health_names_models_devices_and_version(self, http: httpx.Client) -> None:
        body = http.get("/health").json()
        assert body["status"] == "healthy"
        assert [(m["model"], m["state"], m["device"]) for m in body["models"]] == [
            ("tiny", "ready", "cpu"),
            ("tiny-xl", "ready", "cpu"),
            ("tiny-video", "ready", "cpu"),
        ]
        assert body["version"].count(".") == 2

    def test_models_say_what_they_can_do(self, http: httpx.Client) -> None:
        tiny, tiny_xl, tiny_video = http.get("/models").json()["models"]
        assert list(tiny["tasks"]) == ["text-to-image", "image-to-image", "inpaint"]
        assert tiny["tasks"]["inpaint"]["limits"]["max_px"] == 128
        assert "strength" in tiny["tasks"]["inpaint"]["defaults"]
        assert not {"strength", "num_frames", "fps"} & tiny["tasks"]["text-to-image"]["defaults"].keys()
        assert (tiny["state"], tiny["licence"], tiny["gated"], tiny["camera"]) == ("ready", "none", False, [])
        assert "euler_a" in tiny["schedulers"]
        assert tiny["vocabulary"] == ["a", "apple", "blue", "on", "red"]
        assert tiny_xl["vocabulary"] is None
        assert list(tiny_video["tasks"]) == ["text-to-video", "image-to-video"]
        assert tiny_video["tasks"]["image-to-video"]["defaults"]["fps"] == 8

    @pytest.mark.parametrize("path", ["/livez", "/readyz", "/", "/docs.json", "/schema.json"])
    def test_what_bentoml_answers_still_answers(self, http: httpx.Client, path: str) -> None:
        assert http.get(path).status_code == 200

    def test_parameters_are_described_to_readers_of_the_schema(self, http: httpx.Client) -> None:
        fields = http.get("/docs.json").json()["components"]["schemas"]["TextToImageForm"]["properties"]
        assert [name for name, field in fields.items() if not field.get("description")] == []
        assert json.dumps(fields["prompt"]["examples"]) == '["a red apple on a blue background"]'

    def test_requests_are_counted_by_model_task_and_outcome(self, http: httpx.Client) -> None:
        http.post("/text_to_image", json=RED_APPLE)
        http.post("/text_to_image", json={"prompt": ""})
        for counted in (
            r'jubako_http_requests_total\{.*model="tiny",outcome="done",task="text-to-image"',
            r'jubako_http_requests_total\{.*outcome="invalid_request"',
            "jubako_http_request_seconds_count",
        ):
            # They are counted when they have ended, a moment after their answers left.
            wait_for(partial(self.is_told, http, counted))

    @staticmethod
    def is_told(http: httpx.Client, pattern: str) -> bool:
        return re.search(pattern, http.get("/metrics").text) is not None

    @pytest.mark.parametrize(
        "metric",
        [
            'jubako_requests_total{model="tiny",outcome="done",replica="1",task="text-to-image"}',
            'jubako_images_total{model="tiny",replica="1",task="text-to-image"}',
            'jubako_batch_size_count{model="tiny",part="unet",replica="1"}',
            'jubako_step_seconds_count{model="tiny",replica="1"}',
            'jubako_failed_passes_total{cause="error",model="tiny",replica="1"}',
            'jubako_work_seconds_total{model="tiny",replica="1",work="decode"}',
            'jubako_work_seconds_total{model="tiny",replica="1",work="copy"}',
            'jubako_pass_gap_seconds_count{model="tiny",replica="1"}',
            'jubako_pass_fill_count{model="tiny",part="unet",replica="1"}',
            'jubako_queue_seconds_count{model="tiny",replica="1"}',
            'jubako_queue_length{model="tiny",replica="1"}',
        ],
    )
    def test_the_engines_metrics(self, http: httpx.Client, metric: str) -> None:
        assert http.post("/text_to_image", json=RED_APPLE).status_code == 200
        # A request is counted when its engine has ended it, a moment after its picture left.
        wait_for(lambda: metric in http.get("/metrics").text)


def test_the_gateway_reads_no_pickles(server: str, tmp_path: Path) -> None:
    file = tmp_path / "touched"
    for path in ("/text_to_image", "/stream"):
        body = pickle.dumps({"prompt": Attack(file)})
        answer = WEB.post(f"{server}{path}", headers={"Content-Type": PICKLE}, content=body)
        assert answer.status_code >= 400, json.dumps(dict(answer.headers))
    assert not file.exists()


@pytest.fixture(scope="module")
def loha(server: str, served_folder: Path) -> bytes:  # which writes the checkpoint
    """A LoHa for the UNet of `tiny-xl`."""
    unet = UNet2DConditionModel.from_pretrained(served_folder / "sdxl" / "unet")
    tensors, _ = made("loha", shapes_of(unet, ("to_q", "to_v")), kohya_name("lora_unet"))
    return save(tensors)


class TestAddedLoras:
    """`tiny-xl`, since other tests look at the LoRAs of `tiny`."""

    def test_an_upload_may_be_named_at_once(self, http: httpx.Client, loha: bytes, served_folder: Path) -> None:
        wanted = {**RED_APPLE, "model": "tiny-xl"}
        plain = opened(http.post("/text_to_image", json=wanted))
        added = http.post("/models/tiny-xl/loras", files={"file": ("My Cat (v2).safetensors", loha)})
        assert added.status_code == 201, added.text
        assert added.json() == {"model": "tiny-xl", "name": "my-cat-v2", "bytes": len(loha), "hint": None}
        changed = opened(http.post("/text_to_image", json={**wanted, "loras": [{"name": "my-cat-v2"}]}))
        assert np.abs(np.asarray(plain, dtype=int) - np.asarray(changed, dtype=int)).max() > 3
        models = {model["id"]: model for model in http.get("/models").json()["models"]}
        assert "my-cat-v2" in models["tiny-xl"]["loras"]
        assert models["tiny"]["loras"] == {}
        again = http.post("/models/tiny-xl/loras", files={"file": ("my-cat-v2.safetensors", loha)})
        assert (again.status_code, again.json()["field"]) == (400, "name")

    def test_a_file_in_the_folder_may_be_named_at_once(
        self, http: httpx.Client, loha: bytes, served_folder: Path
    ) -> None:
        wanted = {**RED_APPLE, "model": "tiny-xl", "loras": [{"name": "copied"}]}
        refused = http.post("/text_to_image", json=wanted)
        assert (refused.status_code, refused.json()["field"]) == (400, "loras")
        (served_folder / "loras" / "tiny-xl").mkdir(exist_ok=True)
        (served_folder / "loras" / "tiny-xl" / "Copied.safetensors").write_bytes(loha)
        opened(http.post("/text_to_image", json=wanted))

    def test_it_may_be_larger_than_images(self, http: httpx.Client) -> None:
        large = {f"{n}.lora_A.weight": torch.zeros(MAX_UPLOAD_BYTES // 4, dtype=torch.float32) for n in range(2)}
        answer = http.post("/models/tiny-xl/loras", data={"name": "large"}, files={"file": ("a", save(large))})
        assert answer.status_code == 201, answer.text

    @pytest.mark.parametrize(
        ("body", "status", "said"),
        [
            ({"files": {"file": ("a.safetensors", b"<html>")}}, 400, "file: is not a whole safetensors file"),
            ({"files": {"file": ("墨.safetensors", b"")}}, 400, "name: needs letters or digits"),
            ({"files": {"image": ("a.safetensors", b"")}}, 400, "image: is not a known field"),
            ({"data": {"name": "a"}, "files": {"x": (None, "")}}, 400, "x: is not a known field"),
            ({"json": {"repo": "other/styles", "file": "a.safetensors"}}, 403, "JUBAKO_LORA_REPOS"),
            ({"json": {"repo": "someone/styles", "file": "../a.safetensors"}}, 400, "file"),
            ({"json": {"repo": "someone/styles", "file": "a.bin"}}, 400, "file"),
            ({"json": {}}, 400, "repo"),
        ],
    )
    def test_what_is_wrong_is_named(self, body: dict[str, Any], status: int, said: str, http: httpx.Client) -> None:
        answer = http.post("/models/tiny-xl/loras", **body)
        assert answer.status_code == status, answer.text
        assert said in answer.json()["error"]
        assert http.post("/models/nothing/loras", **body).status_code == 404
