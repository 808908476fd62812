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
from core.events import Result, Started
from core.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result
from storage.keys import result_key

PATCH_PX = 16
"""Side of the square of pixels that counts as one token; OpenAI's images are about as many tokens."""


async def answer(gateway: Gateway, admitted: AdmittedImages, base_url: str) -> dict[str, Any]:
    """Generate all images and return the body; `base_url` is this server's address. Raises JubakoError."""
    if admitted.form.response_format == "url":
        await current_desk().check_room()
    results, hint = await _results(gateway, admitted)
    files = await asyncio.gather(*(asyncio.to_thread(file_of, admitted, result) for result in results))
    if admitted.form.response_format == "url":
        shown = [{"url": url} for url in await _stored(files, OutputFormat(admitted.form.output_format), base_url)]
    else:
        shown = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {
        "created": int(time.time()),
        **common_fields(admitted),
        "data": [{**data, "seed": result.seed} for data, result in zip(shown, results, strict=True)],
        "usage": usage(admitted.request, len(results)),
        **hint_field(hint),
    }


def hint_field(hint: str | None) -> dict[str, str]:
    """Return the field of answers and events that OpenAI's API does not have."""
    return {} if hint is None else {"hint": hint}


def common_fields(admitted: AdmittedImages) -> dict[str, Any]:
    """Return the fields that answers and events share."""
    form, request = admitted.form, admitted.request
    identified = {"safety_identifier": form.identifier} if form.identifier else {}
    return {
        "background": "opaque",
        "output_format": form.output_format,
        "quality": form.shown_quality,
        "size": f"{request.width}x{request.height}",
        **identified,
    }


def usage(request: GenerationRequest, num_images: int) -> dict[str, Any]:
    """Return the tokens used, counted in words and in patches of 16x16 pixels; nobody is billed by them."""
    inputs = [image for image in (request.image, *request.images) if image is not None]
    text_tokens, image_tokens = len(request.prompt.split()), sum(_patches(*image.size) for image in inputs)
    output_tokens = num_images * _patches(request.width, request.height)
    return {
        "input_tokens": text_tokens + image_tokens,
        "input_tokens_details": {"text_tokens": text_tokens, "image_tokens": image_tokens},
        "output_tokens": output_tokens,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": output_tokens},
        "total_tokens": text_tokens + image_tokens + output_tokens,
    }


def file_of(admitted: AdmittedImages, result: Result) -> bytes:
    form = admitted.form
    return encode_result(admitted.request, result, OutputFormat(form.output_format), form.compression)


async def _results(gateway: Gateway, admitted: AdmittedImages) -> tuple[list[Result], str | None]:
    """Return the images in order, and the hint."""
    results, hint = [], None
    async with aclosing(gateway.draw(admitted.request)) as events:
        async for event in events:
            if isinstance(event, Result):
                results.append(event)
            elif isinstance(event, Started):
                hint = event.hint
    return sorted(results, key=lambda result: result.index), hint


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


def _patches(width: int, height: int) -> int:
    return -(-width // PATCH_PX) * -(-height // PATCH_PX)
