"""Requests and events as bytes, for the hop between the gateway and a runner, which may be on another machine.

A frame is a line of JSON, followed by the raw pixels of images, if any, and then by a clip's sound or by a request's
videos as files. The line gives their sizes. Raw pixels cost nothing to write or read, and the gateway encodes each
image or clip only once, in the client's format. A video's pixels, though, can be gigabytes, which a runner's queue
would have to hold. Nothing is pickled: reading a pickle runs code of the sender's choice.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import asdict, fields
from typing import Any, Literal

from PIL import Image
from pydantic import BaseModel, NonNegativeFloat, PositiveInt, ValidationError

from core.generation.animation import VIDEOS
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
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from core.pixels.fitting import Fit, Size
from core.pixels.upload import Pixels, pixels_of
from core.pixels.video import UploadedVideo
from core.validation import mistakes_text


def _loading(progress: float, download: dict[str, int] | None = None) -> Loading:
    return Loading(progress, Download(**download) if download else None)


_EVENTS: dict[str, Callable[..., Event]] = {
    "Loading": _loading,
    **{event.__name__: event for event in (Queued, Started, Step, Preview, Picture, Clip, Failed)},
}
_RAW = ("image", "frames", "sound")
"""The fields of events that are sent after the line: images, or tuples of them, and sound."""
_IMAGES = ("image", "mask", "last_image", "reference_image", "control_image", "images")
"""The fields of requests that are images, or tuples of them."""
_FOR_CALLERS = ("fit", "hints")
"""The fields of requests that runners do not need."""
_PIXEL_BYTES = {"RGB": 3, "RGBA": 4, "L": 1}


class BadFrameError(ValueError):
    """The bytes are not a request; the message says why."""


class _Video(BaseModel):
    """`UploadedVideo.description`."""

    size: tuple[PositiveInt, PositiveInt]
    num_frames: PositiveInt
    fps: NonNegativeFloat
    mode: Literal["RGB", "L"]
    background: Literal["black", "white"]
    fit: Fit


class _Header(BaseModel):
    """The line of JSON before a request's pixels."""

    request: dict[str, Any]
    images: list[
        tuple[
            Literal["image", "mask", "last_image", "reference_image", "control_image", "images"],
            Literal["RGB", "L"],
            tuple[PositiveInt, PositiveInt],
        ]
    ]

    videos: list[tuple[Literal["pose_video", "face_video", "background_video", "mask_video"], PositiveInt, _Video]] = []

    @property
    def length_bytes(self) -> int:
        """The bytes of what follows the line."""
        images = sum(_length_bytes(mode, size) for _, mode, size in self.images)
        return images + sum(length for _, length, _ in self.videos)


def encode_request(request: GenerationRequest) -> bytes:
    """Write a request as one frame."""
    images = [(field, pixels_of(image)) for field in _IMAGES for image in _images_in(getattr(request, field))]
    videos = [(field, video, video.file) for field, video in request.named_videos.items()]
    header = {
        "request": request.model_dump(mode="json", exclude={*_IMAGES, *VIDEOS, *_FOR_CALLERS}),
        "images": [(field, image.mode, image.size) for field, image in images],
        "videos": [(field, len(file), video.description) for field, video, file in videos],
    }
    raw = (*(image.tobytes() for _, image in images), *(file for _, _, file in videos))
    return b"".join((json.dumps(header).encode(), b"\n", *raw))


def _images_in(value: Pixels | tuple[Pixels, ...] | None) -> tuple[Pixels, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def decode_request(frame: bytes) -> GenerationRequest:
    """Read a request. Raises BadFrameError for other bytes, before anything of a claimed size is allocated."""
    line, _, pixels = frame.partition(b"\n")
    try:
        header = _Header.model_validate_json(line)
        fields = _read_files(header, memoryview(pixels))
        return GenerationRequest.model_validate({**header.request, **fields})
    except ValidationError as error:
        raise BadFrameError(f"the frame is not a request: {mistakes_text(error)}") from error


def _read_files(header: _Header, pixels: memoryview) -> dict[str, Any]:
    claimed = header.length_bytes
    if claimed != len(pixels):
        raise BadFrameError(f"the frame claims {claimed} bytes of files, and has {len(pixels)}")
    images: dict[str, list[Image.Image]] = {}
    at = 0
    for field, mode, size in header.images:
        end = at + _length_bytes(mode, size)
        images.setdefault(field, []).append(Image.frombytes(mode, size, bytes(pixels[at:end])))
        at = end
    videos: dict[str, Any] = {}
    for name, length, description in header.videos:
        videos[name] = UploadedVideo.of(bytes(pixels[at : at + length]), description.model_dump())
        at += length
    return {**{field: tuple(found) if field == "images" else found[0] for field, found in images.items()}, **videos}


def _length_bytes(mode: str, size: Size) -> int:
    return size[0] * size[1] * _PIXEL_BYTES[mode]


def encode(event: Event) -> bytes:
    """Write one frame."""
    images = _images_of(event)
    values = {f.name: _plain(getattr(event, f.name)) for f in fields(event) if f.name not in _RAW}
    header: dict[str, Any] = {"event": type(event).__name__, **values}
    if images:
        header |= {"mode": images[0].mode, "size": images[0].size, "count": len(images)}
    pixels = (image.tobytes() for image in images)
    sound = event.sound if isinstance(event, Clip) else None
    if sound is not None:
        header["sound"] = {"bytes": len(sound.samples), "channels": sound.channels, "rate_hz": sound.rate_hz}
    return b"".join((json.dumps(header).encode(), b"\n", *pixels, b"" if sound is None else sound.samples))


def _plain(value: Any) -> Any:
    return asdict(value) if isinstance(value, Download) else value


def _images_of(event: Event) -> tuple[Image.Image, ...]:
    match event:
        case Picture() | Preview():
            return (event.image,)
        case Clip():
            return event.frames
        case _:
            return ()


async def read_events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[Event, None]:
    """Read frames from a stream whose chunks may split them anywhere. Raises EOFError when it ends inside a frame."""
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

    It is called again for every chunk of a long frame, so it reads the pixels only once all have arrived.
    """
    newline = buffer.find(b"\n")
    if newline < 0:
        return None
    header = json.loads(buffer[:newline])
    make = _EVENTS[header.pop("event")]
    start = newline + 1
    if "size" not in header:
        return make(**header), start
    mode, (width, height), count = header.pop("mode"), header.pop("size"), header.pop("count")
    if "step_cache" in header:
        header["step_cache"] = StepCache(header["step_cache"])
    sound, length = header.pop("sound", None), width * height * _PIXEL_BYTES[mode]
    pixels_end = start + count * length
    end = pixels_end + (sound["bytes"] if sound else 0)
    if len(buffer) < end:
        return None
    with memoryview(buffer) as pixels:
        images = tuple(
            Image.frombytes(mode, (width, height), bytes(pixels[at : at + length]))
            for at in range(start, pixels_end, length)
        )
        samples = bytes(pixels[pixels_end:end])
    if make is not Clip:
        return make(**header, image=images[0]), end
    heard = Sound(samples, sound["channels"], sound["rate_hz"]) if sound else None
    return make(**header, frames=images, sound=heard), end
