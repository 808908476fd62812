"""A request as a job keeps it: its images and videos as files in storage, the rest as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from core.generation.animation import VIDEOS
from core.pixels.upload import Pixels, UploadedImage, pixels_of
from core.pixels.video import UploadedVideo
from gateway.media.reading.uploads import in_image_thread
from jobs.kinds import JobRequest
from storage.client import Storage
from storage.file_keys import input_key

_PNG = "image/png"
_LISTED = re.compile(r"(\w+)_(\d\d)")


def plain_fields(request: JobRequest) -> dict[str, Any]:
    """Return a request as JSON, without images, and with descriptions in place of videos."""
    files = {name for name, value in request if isinstance(value, UploadedVideo) or _is_images(value)}
    descriptions = {name: video.description for name, video in _videos(request).items()}
    return {**request.model_dump(mode="json", exclude=files), **descriptions}


async def store_inputs(request: JobRequest, job_id: str, storage: Storage) -> dict[str, str]:
    """Write a request's images, losslessly, and its videos; return their keys by field. Raises StorageUnavailable."""
    keys: dict[str, str] = {}
    for name, image in _images(request).items():
        keys[name] = input_key(job_id, name, _PNG)
        await storage.put(keys[name], await in_image_thread(_png, image), _PNG)
    for name, video in _videos(request).items():
        keys[name] = input_key(job_id, name, video.media_type)
        await storage.put(keys[name], await in_image_thread(_file_of, video), video.media_type)
    return keys


async def restored_fields(fields: Mapping[str, Any], inputs: Mapping[str, str], storage: Storage) -> dict[str, Any]:
    """Return a request's fields with its files. Raises StorageUnavailable, or NotStored when one is gone."""
    images: dict[str, Any] = {}
    listed: defaultdict[str, list[Image.Image]] = defaultdict(list)
    for name in sorted(inputs):
        if name in VIDEOS:
            images[name] = UploadedVideo.of(await storage.get(inputs[name]), fields[name])
            continue
        image = await asyncio.to_thread(_opened, await storage.get(inputs[name]))
        if match := _LISTED.fullmatch(name):
            listed[match[1]].append(image)
        else:
            images[name] = image
    return {**fields, **images, **{name: tuple(several) for name, several in listed.items()}}


def request_digest(owner: str, request: JobRequest, output_format: str, quality: int) -> str:
    """Return a digest that is equal for requests of one owner that must give the same files; input images count too."""
    ignored = {"progress", "preview_every", "priority", "deadline_s"}
    fields = {name: value for name, value in plain_fields(request).items() if name not in ignored}
    digest = hashlib.sha256(json.dumps([owner, fields, output_format, quality], sort_keys=True).encode())
    for name, image in _images(request).items():
        pixels = pixels_of(image)
        digest.update(f"{name} {pixels.mode} {pixels.size}".encode() + pixels.tobytes())
    for name, video in _videos(request).items():
        digest.update(name.encode())
        digest.update(video.file)
    return digest.hexdigest()


def _images(request: JobRequest) -> dict[str, Pixels]:
    found: dict[str, Pixels] = {}
    for name, value in request:
        if isinstance(value, Image.Image | UploadedImage):
            found[name] = value
        elif _is_images(value):
            # Two digits, so that names sort in the order of the images.
            found |= {f"{name}_{number:02}": image for number, image in enumerate(value)}
    return found


def _file_of(video: UploadedVideo) -> bytes:
    return video.file


def _videos(request: JobRequest) -> dict[str, UploadedVideo]:
    return {name: value for name, value in request if isinstance(value, UploadedVideo)}


def _is_images(value: object) -> bool:
    listed = value if isinstance(value, tuple) else (value,)
    return bool(listed) and all(isinstance(item, Image.Image | UploadedImage) for item in listed)


def _png(image: Pixels) -> bytes:
    buffer = BytesIO()
    pixels_of(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["PNG"])
    image.load()
    return image
