"""What the Python client says is what the server reads, as JSON and as the form that videos go in."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.requests import Request

from api.http.requests.parsing import read_fields
from api.typed.forms import Stream
from client.calls import VIDEOS, Body, body_of, first_able, json_of
from client.connection import sending
from client.results import Model, Video
from core.generation.request import FILES
from tests.support.servers.serving import photo, png

SAID: dict[str, Any] = {
    "prompt": '"a fox"',
    "negative_prompt": "42",
    "prompt_2": "",
    "seed": 7,
    "guidance_scale": 2.5,
    "reproducible": True,
    "loras": [{"name": "ink", "scale": 0.5}],
    "sigmas": [1.0, 0.5],
}
POSES, FACE, BACKGROUND, MASK = (bytes([number]) * 100_000 for number in range(4))
ANIMATION = {"needed": ["pose_video", "face_video"], "together": ["background_video", "mask_video"], "max_frames": 81}


async def read(body: Body) -> dict[str, Any]:
    """Return what the server reads of a request's body."""
    with sending(body) as said:
        sent = httpx.Request("POST", "http://server/stream", **said)
        content = sent.read()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": content, "more_body": False}

    headers = [(name.lower(), value) for name, value in sent.headers.raw]
    scope = {"type": "http", "method": "POST", "path": "/stream", "headers": headers}
    request = Request(scope, receive)
    try:
        return await read_fields(request, FILES)
    finally:
        await request.close()


class Chunks(BytesIO):
    """An open file that notes how much is read of it at once."""

    most = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.most = max(self.most, len(data))
        return data


@pytest.fixture
def poses(tmp_path: Path) -> Path:
    (tmp_path / "poses.mp4").write_bytes(POSES)
    return tmp_path / "poses.mp4"


async def test_videos_go_as_files_in_all_forms_they_may_be_given_in(poses: Path) -> None:
    face = Chunks(FACE)
    files = {"pose_video": poses, "face_video": face, "background_video": BACKGROUND}
    body = body_of({**SAID, **files, "mask_video": Video(MASK, "video/mp4"), "image": photo(), "last_image": None})
    fields = await read(body)
    assert {name: fields.pop(name) for name in VIDEOS} == dict(
        zip(VIDEOS, ([each] for each in (POSES, FACE, BACKGROUND, MASK)), strict=True)
    )
    assert fields.pop("image") == [png(photo())]
    assert 0 < face.most < len(FACE), "piece by piece"
    # As the form of a typed API takes it, which JSON gives as it is.
    assert Stream.model_validate(fields) == Stream.model_validate(SAID)


async def test_images_alone_go_as_json() -> None:
    fields = await read(body_of({**SAID, "image": photo(), "images": [b"a", b"b"], "pose_video": None}))
    assert (fields.pop("image"), fields.pop("images")) == ([png(photo())], [b"a", b"b"])
    assert fields == SAID


async def test_a_batch_has_videos_too(poses: Path) -> None:
    assert (await read(json_of({"pose_video": poses})))["pose_video"] == [POSES]


def models() -> Iterator[Model]:
    for name, animation, task in (
        ("drawing", None, "text-to-image"),
        ("figure", ANIMATION, "image-to-video"),
        ("clip", None, "image-to-video"),
    ):
        yield Model.of({"id": name, "title": "", "state": "ready", "tasks": {task: {}}, "animation": animation})


@pytest.mark.parametrize(
    ("api", "parameters", "model"),
    [
        ("text_to_image", {}, "drawing"),
        ("image_to_video", {"pose_video": None}, "clip"),
        ("image_to_video", {"pose_video": POSES}, "figure"),
        ("text_to_image", {"pose_video": POSES}, "drawing"),
        ("text_to_video", {}, "drawing"),
    ],
)
def test_who_names_no_model_gets_one_that_takes_its_videos(api: str, parameters: dict[str, Any], model: str) -> None:
    assert first_able(list(models()), api, parameters) == model


def test_models_say_what_they_move_a_figure_by() -> None:
    drawing, figure, _ = models()
    assert drawing.animation is None
    assert figure.animation is not None
    assert vars(figure.animation) == ANIMATION
    assert Model.of({name: value for name, value in drawing.fields.items() if name != "animation"}).animation is None
