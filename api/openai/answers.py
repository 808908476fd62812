"""Images as OpenAI's API returns them: base64, or URLs of stored files."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from api.http.context import current_desk, current_storage
from api.http.files import file_url
from api.openai.drafting import AdmittedImages
from api.openai.generating import Generation
from core.generation.events import Result
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result
from storage.file_keys import result_key


async def answer(gateway: Gateway, admitted: AdmittedImages, base_url: str) -> dict[str, Any]:
    """Generate all images and return the body; `base_url` is this server's address. Raises JubakoError."""
    if admitted.stores_files:
        await current_desk().check_room()
    generation = Generation(gateway, admitted)
    results = await results_of(generation)
    files = await asyncio.gather(*(asyncio.to_thread(file_of, admitted, result) for result in results))
    if admitted.stores_files:
        shown = [{"url": url} for url in await _stored(files, OutputFormat(admitted.form.output_format), base_url)]
    else:
        shown = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {
        "created": int(time.time()),
        **common_fields(admitted),
        "data": [
            {**data, "seed": result.seed, "skipped_steps": result.skipped_steps, "tiled": result.tiled}
            for data, result in zip(shown, results, strict=True)
        ],
        "usage": generation.usage(len(results)),
        **generation.hint_field,
    }


def common_fields(admitted: AdmittedImages) -> dict[str, Any]:
    """Return the fields that answers and events share."""
    form, (width, height) = admitted.form, admitted.request.result_size
    identified = {"safety_identifier": form.identifier} if form.identifier else {}
    return {
        "background": "opaque",
        "output_format": form.output_format,
        "quality": form.shown_quality,
        "size": f"{width}x{height}",
        **identified,
    }


def file_of(admitted: AdmittedImages, result: Result) -> bytes:
    form = admitted.form
    return encode_result(admitted.request, result, OutputFormat(form.output_format), form.compression)


async def results_of(generation: Generation) -> list[Result]:
    """Return the images in order."""
    async with aclosing(generation.events()) as events:
        results = [event async for event in events if isinstance(event, Result)]
    return sorted(results, key=lambda result: result.index)


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
