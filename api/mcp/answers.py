"""Tools' answers: a description, and a job's images, made small enough for the programs that show them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from PIL import Image

from api.http.context import current_storage
from api.jobs.answers import status_of
from jobs.job import Job

SHOWN_BYTES = 700_000
"""Limit for all images of an answer: hosts take a megabyte of base64. The whole files can be fetched by address."""
SIDES_PX = (1568, 1024, 768, 512, 256, 128)


@dataclass(frozen=True)
class InlineImage:
    data: bytes
    media_type: str


@dataclass(frozen=True)
class ToolResult:
    fields: Mapping[str, Any]
    """The description, for programs and models, as JSON."""
    images: tuple[InlineImage, ...] = ()


async def tool_result_of(job: Job, base_url: str) -> ToolResult:
    """Return a job's status; with its images, once it has any."""
    storage = current_storage()
    pictures = [result for result in job.results if result.media_type.startswith("image/")]
    files = await asyncio.gather(*(storage.get(result.key) for result in pictures))
    most_bytes = SHOWN_BYTES // max(1, len(files))
    images = [
        await asyncio.to_thread(_shown, file, result.media_type, most_bytes)
        for file, result in zip(files, pictures, strict=True)
    ]
    fields = await status_of(job, storage, base_url)
    return ToolResult({"job": fields.pop("session_id"), **fields}, tuple(images))


def _shown(file: bytes, media_type: str, most_bytes: int) -> InlineImage:
    """Return a file, or a WebP copy that fits if the file is too large."""
    sides = iter(SIDES_PX)
    while len(file) > most_bytes and (side := next(sides, None)) is not None:
        file, media_type = _reduced(file, side), "image/webp"
    return InlineImage(file, media_type)


def _reduced(file: bytes, side_px: int) -> bytes:
    buffer = BytesIO()
    with Image.open(BytesIO(file)) as image:
        image.thumbnail((side_px, side_px))
        image.save(buffer, "WEBP", quality=85)
    return buffer.getvalue()
