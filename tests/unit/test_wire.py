"""Events survive the hop between runner and gateway, however the stream is cut."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from PIL import Image

from core.events import Clip, Event, Failed, Loading, Picture, Preview, Queued, Started, Step
from runners.wire import encode, read_events

EVENTS: list[Event] = [
    Loading(0.5),
    Queued(3),
    Started(0.25),
    Step(0, 1, 20),
    Preview(0, 1, Image.new("RGB", (4, 2), (10, 10, 10))),
    Picture(1, 2**62, Image.linear_gradient("L").convert("RGB")),
    Clip(0, 7, tuple(Image.new("RGB", (6, 4), (number, 0, 10)) for number in range(5)), 16),
    Clip(1, 8, (Image.linear_gradient("L").convert("RGB"),), 24),
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
