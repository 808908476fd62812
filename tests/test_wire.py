"""Events survive the hop between runner and gateway, however the stream is cut."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from PIL import Image

from runners.events import Cancelled, Event, Failed, Picture, Preview, Queued, Started, Step
from runners.wire import encode, read_events

EVENTS: list[Event] = [
    Queued(3),
    Started(0.25),
    Step(0, 1, 20),
    Preview(0, 1, Image.new("RGB", (4, 2), (10, 10, 10))),
    Picture(1, 2**62, Image.linear_gradient("L").convert("RGB")),
    Failed("non_finite", "unet produced NaN\nor infinity"),
    Cancelled(),
]


async def cut(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


@pytest.mark.parametrize("size", [1, 7, 4096, 10**7])
async def test_round_trip(size: int) -> None:
    stream = b"".join(encode(event) for event in EVENTS)
    received = [event async for event in read_events(cut(stream, size))]
    assert received == EVENTS


async def test_a_stream_that_ends_inside_an_event_is_an_error() -> None:
    with pytest.raises(EOFError):
        _ = [event async for event in read_events(cut(encode(EVENTS[4])[:-1], 100))]
