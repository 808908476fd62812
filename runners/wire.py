"""Events as bytes, for the hop between a runner and the gateway.

A frame is a line of JSON and, where the event carries a picture, the picture's raw RGB bytes; the line says
how many. Raw pixels cost nothing to write or read, and the gateway encodes each picture once, as its caller
wants it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import fields
from typing import Any

from PIL import Image

from runners.events import Cancelled, Event, Failed, Loading, Picture, Preview, Queued, Started, Step

_EVENTS: dict[str, Callable[..., Event]] = {
    event.__name__: event for event in (Loading, Queued, Started, Step, Preview, Picture, Failed, Cancelled)
}


def encode(event: Event) -> bytes:
    """Write one frame."""
    values = {f.name: getattr(event, f.name) for f in fields(event)}
    image: Image.Image | None = values.pop("image", None)
    header: dict[str, Any] = {"event": type(event).__name__, **values}
    if image is not None:
        header["size"] = image.size
    pixels = b"" if image is None else image.convert("RGB").tobytes()
    return json.dumps(header).encode() + b"\n" + pixels


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
    """Return the first event and the length of its frame, or None while it is incomplete."""
    newline = buffer.find(b"\n")
    if newline < 0:
        return None
    header = json.loads(buffer[:newline])
    start = newline + 1
    size = header.pop("size", None)
    if size is None:
        return _EVENTS[header.pop("event")](**header), start
    end = start + size[0] * size[1] * 3
    if len(buffer) < end:
        return None
    image = Image.frombytes("RGB", tuple(size), bytes(buffer[start:end]))
    return _EVENTS[header.pop("event")](**header, image=image), end
