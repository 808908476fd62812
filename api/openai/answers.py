"""Images as OpenAI's API returns them: base64, or URLs of stored files."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Callable, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

from api.http.context import current_desk, current_storage
from api.http.result_files import file_url
from api.openai.drafting import AdmittedImages
from api.openai.generating import Generation
from core.generation.events import Picture, Result
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result
from gateway.media.kept_pixels import on_white
from storage.file_keys import result_key

T = TypeVar("T")


async def answer(gateway: Gateway, admitted: AdmittedImages, base_url: str) -> dict[str, Any]:
    """Generate all images and return the body; `base_url` is this server's address. Raises JubakoError."""
    if admitted.stores_files:
        await current_desk().check_room()
    generation = Generation(gateway, admitted)
    made = await made_of(generation, partial(_made, admitted))
    files = [file for file, _ in made]
    if admitted.stores_files:
        shown = [{"url": url} for url in await _stored(files, OutputFormat(admitted.form.output_format), base_url)]
    else:
        shown = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {
        "created": int(time.time()),
        **common_fields(admitted),
        "data": [{**data, **fields} for data, (_, fields) in zip(shown, made, strict=True)],
        "usage": generation.usage(len(made)),
        **generation.hint_field,
    }


def common_fields(admitted: AdmittedImages) -> dict[str, Any]:
    """Return the fields that answers and events share."""
    form, (width, height) = admitted.form, admitted.request.result_size
    identified = {"safety_identifier": form.identifier} if form.identifier else {}
    return {
        "background": "transparent" if admitted.transparent else "opaque",
        "output_format": form.output_format,
        "quality": form.shown_quality,
        "size": f"{width}x{height}",
        **identified,
    }


def file_of(admitted: AdmittedImages, result: Result) -> bytes:
    form = admitted.form
    if isinstance(result, Picture) and not admitted.transparent:
        result = on_white(result)
    return encode_result(admitted.request, result, OutputFormat(form.output_format), form.compression)


async def made_of(generation: Generation, make: Callable[[Result], T]) -> list[T]:
    """Apply `make`, which takes time, to each image; return what it made, in the order of the images.

    Upscaled images are large, so each is made into its result before the next is upscaled.
    """
    async with aclosing(generation.events()) as events:
        results = (event async for event in events if isinstance(event, Result))
        if generation.upscales:
            made = {result.index: await asyncio.to_thread(make, result) async for result in results}
        else:
            drawn = [result async for result in results]
            each = await asyncio.gather(*(asyncio.to_thread(make, result) for result in drawn))
            made = dict(zip((result.index for result in drawn), each, strict=True))
    return [made[index] for index in sorted(made)]


def _made(admitted: AdmittedImages, result: Result) -> tuple[bytes, dict[str, Any]]:
    """Return an image's file, and the answer's fields about it."""
    fields = {"seed": result.seed, "skipped_steps": result.skipped_steps, "tiled": result.tiled}
    return file_of(admitted, result), fields


async def _stored(files: Sequence[bytes], output_format: OutputFormat, base_url: str) -> list[str]:
    """Store files as jobs do and return their URLs."""
    storage = current_storage()
    name, now = str(uuid.uuid4()), datetime.now(UTC)
    keys = [result_key(name, now, output_format.media_type, index) for index in range(len(files))]
    await asyncio.gather(
        *(storage.put(key, file, output_format.media_type) for key, file in zip(keys, files, strict=True))
    )
    await current_desk().keep_files(keys)
    return [await file_url(key, storage, base_url) for key in keys]
