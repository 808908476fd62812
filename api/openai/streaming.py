"""A request as events: `image_generation.*` and `image_edit.*`, with the fields that OpenAI's clients expect.

In addition, `index` says which of `n` images an event is about, a completed image has its `seed`, and events have a
`hint` where there is one.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from io import BytesIO
from typing import Any

from PIL import Image

from api.http.responses.streams import PING, event_text
from api.openai.answers import common_fields, file_of
from api.openai.drafting import AdmittedImages, admit
from api.openai.errors import openai_error
from api.openai.forms import ImagesForm
from api.openai.generating import Generation
from core.errors import JubakoError, retry_fields
from core.generation.events import Event, Picture, Preview
from gateway.gateway import Gateway
from gateway.media.encoding import PNG_COMPRESS_LEVEL
from gateway.metrics import measured


async def stream_events(gateway: Gateway, form: ImagesForm) -> AsyncGenerator[str, None]:
    """Generate, and yield server-sent events. Raises the JubakoError that ended it."""
    with measured() as measure:
        admitted = await admit(gateway, form)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        generation = Generation(gateway, admitted)
        async with aclosing(generation.events()) as events:
            async for event in events:
                body = await asyncio.to_thread(render_event, event, admitted, generation)
                yield PING if body is None else event_text(body["type"], {**body, **generation.hint_field})


def error_text(error: JubakoError) -> str:
    return event_text("error", {"type": "error", **openai_error(error), **retry_fields(error)})


def render_event(event: Event, admitted: AdmittedImages, generation: Generation) -> dict[str, Any] | None:
    """Return an event as OpenAI's fields; None for events that OpenAI's clients do not know."""
    match event:
        case Preview():
            return _partial(event, admitted)
        case Picture():
            return {
                "type": f"{admitted.form.events}.completed",
                **_fields(admitted, file_of(admitted, event), event.index),
                "seed": event.seed,
                "skipped_steps": event.skipped_steps,
                "tiled": event.tiled,
                "usage": generation.usage(1),
            }
        case _:
            return None


def _partial(preview: Preview, admitted: AdmittedImages) -> dict[str, Any] | None:
    request, form = admitted.request, admitted.form
    number = preview.step // request.preview_every - 1
    # The preview of the last step is the image itself.
    if number >= form.partial_images or preview.step >= request.denoising_steps:
        return None
    enlarged = preview.image.resize(request.generated_size, Image.Resampling.BICUBIC)
    file = _encoded(enlarged, form.output_format, form.compression)
    return {
        "type": f"{form.events}.partial_image",
        **_fields(admitted, file, preview.index),
        "partial_image_index": number,
    }


def _fields(admitted: AdmittedImages, file: bytes, index: int) -> dict[str, Any]:
    data = base64.b64encode(file).decode()
    return {"b64_json": data, "created_at": int(time.time()), **common_fields(admitted), "index": index}


def _encoded(image: Image.Image, output_format: str, quality: int) -> bytes:
    buffer = BytesIO()
    # Each format ignores the other's option.
    image.save(buffer, output_format.upper(), quality=quality, compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()
