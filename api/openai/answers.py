"""Pictures as OpenAI's answers: base64, or addresses of stored files."""

from __future__ import annotations

import asyncio
import base64
import time
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from api.http.context import current_storage
from api.openai.drafting import Accepted
from core.events import Result
from core.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_result
from storage.keys import result_key

PATCH_PX = 16
"""Side of the square of pixels that counts as one token: pictures of OpenAI's are about as many tokens."""


async def answer(gateway: Gateway, accepted: Accepted, base_url: str) -> dict[str, Any]:
    """Draw all pictures and return the body; `base_url` is this server's address. Raises JubakoError."""
    results = await _results(gateway, accepted)
    files = await asyncio.gather(*(asyncio.to_thread(file_of, accepted, result) for result in results))
    if accepted.form.response_format == "url":
        shown = [{"url": url} for url in await _kept(files, OutputFormat(accepted.form.output_format), base_url)]
    else:
        shown = [{"b64_json": base64.b64encode(file).decode()} for file in files]
    return {
        "created": int(time.time()),
        **facts(accepted),
        "data": [{**data, "seed": result.seed} for data, result in zip(shown, results, strict=True)],
        "usage": usage(accepted.request, len(results)),
    }


def facts(accepted: Accepted) -> dict[str, Any]:
    """Return what answers and events alike say about the pictures."""
    form, request = accepted.form, accepted.request
    identified = {"safety_identifier": form.identifier} if form.identifier else {}
    return {
        "background": "opaque",
        "output_format": form.output_format,
        "quality": form.shown_quality,
        "size": f"{request.width}x{request.height}",
        **identified,
    }


def usage(request: GenerationRequest, pictures: int) -> dict[str, Any]:
    """Return how much was asked for, in words and patches of 16x16 pixels: nobody is billed by it."""
    inputs = [picture for picture in (request.image, *request.images) if picture is not None]
    text, images = len(request.prompt.split()), sum(_patches(*picture.size) for picture in inputs)
    drawn = pictures * _patches(request.width, request.height)
    return {
        "input_tokens": text + images,
        "input_tokens_details": {"text_tokens": text, "image_tokens": images},
        "output_tokens": drawn,
        "output_tokens_details": {"text_tokens": 0, "image_tokens": drawn},
        "total_tokens": text + images + drawn,
    }


def file_of(accepted: Accepted, result: Result) -> bytes:
    form = accepted.form
    return encode_result(accepted.request, result, OutputFormat(form.output_format), form.compression)


async def _results(gateway: Gateway, accepted: Accepted) -> list[Result]:
    async with aclosing(gateway.draw(accepted.request)) as events:
        found = [event async for event in events if isinstance(event, Result)]
    return sorted(found, key=lambda result: result.index)


async def _kept(files: Sequence[bytes], output_format: OutputFormat, base_url: str) -> list[str]:
    """Store files as jobs do and return their addresses."""
    storage = current_storage()
    name, now = str(uuid.uuid4()), datetime.now(UTC)
    keys = [result_key(name, now, output_format.media_type, index) for index in range(len(files))]
    await asyncio.gather(
        *(storage.put(key, file, output_format.media_type) for key, file in zip(keys, files, strict=True))
    )
    addresses = [await storage.url(key) for key in keys]
    # Those in a local folder are paths on this server.
    return [f"{base_url}{address}" if address.startswith("/") else address for address in addresses]


def _patches(width: int, height: int) -> int:
    return -(-width // PATCH_PX) * -(-height // PATCH_PX)
