"""Events survive the hop between runner and gateway, however the stream is cut."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from PIL import Image

from core.generation.events import (
    Clip,
    Download,
    Event,
    Failed,
    Loading,
    Picture,
    Preview,
    Queued,
    Sound,
    Started,
    Step,
)
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from runners.wire import BadFrameError, decode_request, encode, encode_request, read_events
from tests.support.engine.animation_videos import video

EVENTS: list[Event] = [
    Loading(0.5),
    Loading(0.0, Download(10, 20, 5)),
    Queued(3),
    Started(0.25, "prompt is too long", 77),
    Step(0, 1, 20),
    Preview(0, 1, Image.new("RGB", (4, 2), (10, 10, 10))),
    Picture(1, 2**62, Image.linear_gradient("L").convert("RGB")),
    Picture(0, 5, Image.new("RGBA", (3, 2), (10, 20, 30, 40))),
    Clip(0, 7, tuple(Image.new("RGB", (6, 4), (number, 0, 10)) for number in range(5)), 16),
    Clip(1, 8, (Image.linear_gradient("L").convert("RGB"),), 24),
    Clip(2, 9, (Image.new("RGB", (6, 4)),) * 3, 24, sound=Sound(bytes(range(240)), channels=2, rate_hz=24000)),
    Failed("non_finite", "unet produced NaN\nor infinity"),
    Failed("cancelled", "cancelled by the caller"),
]


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 4096, 10**7])
async def test_round_trip(size: int) -> None:
    stream = b"".join(encode(event) for event in EVENTS)
    received = [event async for event in read_events(cut(stream, size))]
    assert received == EVENTS


@pytest.mark.parametrize("event", [event for event in EVENTS if isinstance(event, Picture | Clip)])
async def test_a_stream_that_ends_inside_an_event_is_an_error(event: Event) -> None:
    with pytest.raises(EOFError):
        _ = [received async for received in read_events(cut(encode(event)[:-1], 100))]


async def test_a_long_clip_is_read_as_fast_as_it_is_long() -> None:
    clip = Clip(0, 7, (Image.new("RGB", (1280, 704)),) * 24, 24)  # 65 MB
    data = encode(clip)
    started = time.perf_counter()
    received = [event async for event in read_events(cut(data, 4096))]
    # Half a second; copying what has come so far at every chunk would move half a terabyte.
    assert time.perf_counter() - started < 10
    assert received == [clip]


REQUEST = GenerationRequest(
    model="tiny",
    task=Task.INPAINT,
    prompt="a red apple",
    width=6,
    height=4,
    num_inference_steps=2,
    guidance_scale=2.0,
    seed=1,
    scheduler="euler",
    image=Image.linear_gradient("L").convert("RGB").resize((6, 4)),
    mask=Image.linear_gradient("L").resize((6, 4)),
    images=(Image.new("RGB", (3, 2), (1, 2, 3)), Image.new("RGB", (1, 5))),
    last_image=Image.new("RGB", (6, 4), (4, 5, 6)),
)
FRAME = encode_request(REQUEST)


def test_a_request_survives_the_hop() -> None:
    assert decode_request(FRAME) == REQUEST


FOLLOWING = REQUEST.model_copy(
    update={
        "pose_video": video(3).resized(32, 64, Fit.PAD).first(2),
        "face_video": video(3, 16),
        "mask_video": video(3, mode="L"),
        "segment_frames": 5,
    }
)
FOLLOWING_FRAME = encode_request(FOLLOWING)


def test_a_request_with_videos_survives_the_hop() -> None:
    received = decode_request(FOLLOWING_FRAME)
    assert received == FOLLOWING
    assert received.pose_video is not None
    assert [each.size for each in received.pose_video.open()] == [(32, 64)] * 2


def with_video(*description: Any, **changes: Any) -> bytes:
    """Return a frame whose one video, of three bytes, is described so."""
    header = json.loads(FOLLOWING_FRAME.partition(b"\n")[0])
    described = [*description, {**header["videos"][0][2], **changes}][:3]
    return json.dumps({**header, "images": [], "videos": [described]}).encode() + b"\nabc"


def frame(images: Any, pixels: bytes = b"") -> bytes:
    header = json.loads(FRAME.partition(b"\n")[0])
    return json.dumps({**header, "images": images}).encode() + b"\n" + pixels


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\n",
        b"[" * 10**5,
        b"[]\n",
        b'{"request": {}, "images": []}\n',
        FRAME[:-1],
        FRAME + b"\0",
        frame([("image", "RGB", (100_000, 100_000))]),
        frame([("image", "RGB", (-6, -4))], bytes(72)),
        frame([("image", "RGB", (0, 4))]),
        frame([("image", "RGB", (2.5, 4))], bytes(30)),
        frame([("image", "I;16", (6, 4))], bytes(48)),
        frame([("prompt", "RGB", (6, 4))], bytes(72)),
        frame([("image", "RGB")]),
        frame({"image": 1}),
        frame(None),
        FOLLOWING_FRAME[:-1],
        FOLLOWING_FRAME + b"\0",
        with_video("pose_video", 2),
        with_video("pose_video", 0),
        with_video("pose_video", -3),
        with_video("image", 3),
        with_video("pose_video", 3, size=(0, 4)),
        with_video("pose_video", 3, num_frames=0),
        with_video("pose_video", 3, fps=-1),
        with_video("pose_video", 3, mode="RGBA"),
        with_video("pose_video", 3, fit="none"),
        with_video("pose_video", 3, None),
    ],
    ids=lambda data: repr(data[-40:]),
)
def test_what_is_no_request_is_refused_before_anything_is_made_of_it(data: bytes) -> None:
    with pytest.raises(BadFrameError):
        decode_request(data)
