"""A model that moves the figure in an image as videos say, over a real server."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from PIL import Image

from core.generation.events import Clip
from gateway.media.video_encoding import MP4, encode_video
from tests.support.engine.animation_videos import gif
from tests.support.servers.replica import Replica
from tests.support.servers.serving import decoded, parse_events, photo, png, wait_for
from tests.support.web import client_of

FRAMES = 6
"""Which are cut from the nine that the model makes at once."""
ASKED = {"model": "tiny-animate", "prompt": "a fox", "seed": "3"}
POSES = encode_video(
    Clip(0, 7, tuple(Image.new("RGB", (96, 64), (40 * n, 0, 0)) for n in range(FRAMES)), 12), MP4, 90, ""
)
FOLLOWED = {"pose_video": POSES, "face_video": gif(FRAMES)}
PLACE = {"background_video": gif(FRAMES, 96), "mask_video": gif(FRAMES, 96, seed=1)}


@pytest.fixture
def http(openai_server: Replica) -> Iterator[httpx.Client]:
    with client_of(openai_server.url) as client:
        yield client


def moved(http: httpx.Client, **videos: bytes) -> httpx.Response:
    return http.post("/image_to_video", data=ASKED, files={"image": png(photo(96, 64)), **videos})


def in_base64(**files: bytes) -> dict[str, Any]:
    return {**ASKED, **{name: base64.b64encode(file).decode() for name, file in files.items()}}


def test_a_clip_has_the_frames_the_rate_and_the_size_of_the_poses(http: httpx.Client) -> None:
    answer = moved(http, **FOLLOWED)
    assert answer.status_code == 200, answer.text
    frames = decoded(answer.content)
    assert (len(frames), frames[0].size) == (FRAMES, (96, 64))
    placed = moved(http, **FOLLOWED, **PLACE)
    assert len(decoded(placed.content)) == FRAMES
    assert placed.content != answer.content


def test_jobs_and_streams_follow_them_too(http: httpx.Client) -> None:
    image = png(photo(96, 64))
    fields = {name: value for name, value in in_base64(image=image, **FOLLOWED).items() if name != "model"}
    job = http.post("/api/tiny-animate/i2v", json=fields).json()["session_id"]
    streamed = http.post("/stream", json={**fields, "model": "tiny-animate", "task": "image-to-video"})
    events = parse_events([streamed.text])
    (clip,) = (base64.b64decode(event.data["video"]) for event in events if event.name == "video")
    wait_for(lambda: http.get(f"/api/{job}/status").json()["status"] == "completed")
    kept = http.get(f"/api/{job}/result", follow_redirects=True).content
    assert [len(decoded(file)) for file in (kept, clip)] == [FRAMES] * 2


def test_a_missing_video_is_named(http: httpx.Client) -> None:
    answer = moved(http, pose_video=POSES)
    assert (answer.status_code, answer.json()["error"]) == (400, "face_video: tiny-animate needs one")
