"""A request as a job keeps it: its images as files in storage, the rest as JSON."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from models.request import GenerationRequest
from storage.client import Storage
from storage.keys import input_key

_FIELDS = ("image", "mask", "reference_image", "control_image")
_LIST = "images"
_PNG = "image/png"


def plain_fields(request: GenerationRequest) -> dict[str, Any]:
    """Return everything but the images, as JSON."""
    return request.model_dump(mode="json", exclude={*_FIELDS, _LIST})


async def store_inputs(request: GenerationRequest, job_id: str, storage: Storage) -> dict[str, str]:
    """Write a request's images, losslessly; return their keys by field. Raises StorageUnavailable."""
    keys: dict[str, str] = {}
    for name, image in _images(request).items():
        keys[name] = input_key(job_id, name, _PNG)
        await storage.put(keys[name], await asyncio.to_thread(_png, image), _PNG)
    return keys


async def restore_request(fields: Mapping[str, Any], inputs: Mapping[str, str], storage: Storage) -> GenerationRequest:
    """Put a request together again. Raises StorageUnavailable, or NotStored when an image is gone."""
    images = {name: await asyncio.to_thread(_opened, await storage.get(key)) for name, key in inputs.items()}
    listed = tuple(images.pop(name) for name in sorted(n for n in images if n.startswith(f"{_LIST}_")))
    return GenerationRequest.model_validate({**fields, **images, _LIST: listed})


def content_digest(request: GenerationRequest, output_format: str, quality: int) -> str:
    """Return what is equal for requests that must give the same files, images included."""
    told = {"progress", "preview_every", "priority", "deadline_s"}
    fields = {name: value for name, value in plain_fields(request).items() if name not in told}
    digest = hashlib.sha256(json.dumps([fields, output_format, quality], sort_keys=True).encode())
    for name, image in _images(request).items():
        digest.update(f"{name} {image.mode} {image.size}".encode() + image.tobytes())
    return digest.hexdigest()


def _images(request: GenerationRequest) -> dict[str, Image.Image]:
    single = {name: image for name in _FIELDS if (image := getattr(request, name)) is not None}
    # Two digits keep the order of names that of the images.
    return single | {f"{_LIST}_{number:02}": image for number, image in enumerate(request.images)}


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _opened(data: bytes) -> Image.Image:
    image = Image.open(BytesIO(data), formats=["PNG"])
    image.load()
    return image
