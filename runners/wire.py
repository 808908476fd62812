"""Events as bytes, for the hop between a runner and the gateway.

A frame is a line of JSON and, where the event carries pictures, their raw RGB bytes; the line says how many.
Raw pixels cost nothing to write or read, and the gateway encodes each picture or clip once, as its caller wants it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import fields
from typing import Any

from PIL import Image

from runners.events import Cancelled, Clip, Event, Failed, Loading, Picture, Preview, Queued, Started, Step

_EVENTS: dict[str, Callable[..., Event]] = {
    event.__name__: event for event in (Loading, Queued, Started, Step, Preview, Picture, Clip, Failed, Cancelled)
}
_PIXELS = ("image", "frames")


def encode(event: Event) -> bytes:
    """Write one frame."""
    images = _images_of(event)
    values = {f.name: getattr(event, f.name) for f in fields(event) if f.name not in _PIXELS}
    header: dict[str, Any] = {"event": type(event).__name__, **values}
    if images:
        header |= {"size": images[0].size, "count": len(images)}
    return b"".join((json.dumps(header).encode(), b"\n", *(image.convert("RGB").tobytes() for image in images)))


def _images_of(event: Event) -> tuple[Image.Image, ...]:
    match event:
        case Picture() | Preview():
            return (event.image,)
        case Clip():
            return event.frames
        case _:
            return ()


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """Read frames from a stream that may be cut anywhere. Raises EOFError when it ends inside a frame."""
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        while (frame := _decode(buffer)) is not None:
            event, length = frame
            del buffer[:length]
            yield event
    if buffer:
        raise EOFError("the runner's stream ended inside an event")


def _decode(buffer: bytearray) -> tuple[Event, int] | None:
    """Return the first event and the length of its frame, or None while it is incomplete.

    It is called again with every chunk of a long frame, so the pixels are only touched once all have come.
    """
    newline = buffer.find(b"\n")
    if newline < 0:
        return None
    header = json.loads(buffer[:newline])
    make = _EVENTS[header.pop("event")]
    start = newline + 1
    if "size" not in header:
        return make(**header), start
    (width, height), count = header.pop("size"), header.pop("count")
    length = width * height * 3
    end = start + count * length
    if len(buffer) < end:
        return None
    with memoryview(buffer) as pixels:
        images = tuple(
            Image.frombytes("RGB", (width, height), bytes(pixels[at : at + length])) for at in range(start, end, length)
        )
    return make(**header, **({"frames": images} if make is Clip else {"image": images[0]})), end
