"""A drawing as events: `image_generation.*` and `image_edit.*`, with the fields that OpenAI's clients expect.

Beside those, `index` says which of `n` pictures an event is about, and a completed one names its `seed`.
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

from api.http.sse import event_text
from api.openai.answers import facts, file_of, usage
from api.openai.drafting import Accepted, accept
from api.openai.errors import openai_error
from api.openai.forms import ImagesForm
from core.errors import JubakoError
from core.events import Event, Picture, Preview
from gateway.gateway import Gateway
from gateway.media.encoding import PNG_COMPRESS_LEVEL
from gateway.metrics import measured

KEEP_ALIVE = ": \n\n"
"""A comment, which clients skip; it shows them, and proxies, that the server is still working."""


async def server_sent(gateway: Gateway, form: ImagesForm) -> AsyncGenerator[str, None]:
    """Draw and yield server-sent events. Raises JubakoError before the first only; later errors are events."""
    begun = False
    try:
        with measured() as measure:
            accepted = await accept(gateway, form)
            measure.model, measure.task = accepted.request.model, accepted.request.task
            async with aclosing(gateway.draw(accepted.request)) as events:
                async for event in events:
                    begun = True
                    body = await asyncio.to_thread(rendered, event, accepted)
                    yield KEEP_ALIVE if body is None else event_text(body["type"], body)
    except JubakoError as error:
        if not begun:
            raise
        yield event_text("error", {"type": "error", **openai_error(error)})


def rendered(event: Event, accepted: Accepted) -> dict[str, Any] | None:
    """Return what OpenAI's clients know of an event; None for those that they do not know."""
    match event:
        case Preview():
            return _partial(event, accepted)
        case Picture():
            return {
                "type": f"{accepted.form.events}.completed",
                **_fields(accepted, file_of(accepted, event), event.index),
                "seed": event.seed,
                "usage": usage(accepted.request, 1),
            }
        case _:
            return None


def _partial(preview: Preview, accepted: Accepted) -> dict[str, Any] | None:
    request, form = accepted.request, accepted.form
    number = preview.step // request.preview_every - 1
    # The one of the last step is the picture itself.
    if number >= form.partial_images or preview.step >= request.denoising_steps:
        return None
    enlarged = preview.image.resize((request.width, request.height), Image.Resampling.BICUBIC)
    file = _encoded(enlarged, form.output_format, form.compression)
    return {
        "type": f"{form.events}.partial_image",
        **_fields(accepted, file, preview.index),
        "partial_image_index": number,
    }


def _fields(accepted: Accepted, file: bytes, index: int) -> dict[str, Any]:
    data = base64.b64encode(file).decode()
    return {"b64_json": data, "created_at": int(time.time()), **facts(accepted), "index": index}


def _encoded(image: Image.Image, output_format: str, quality: int) -> bytes:
    buffer = BytesIO()
    # Each format ignores the other's option.
    image.save(buffer, output_format.upper(), quality=quality, compress_level=PNG_COMPRESS_LEVEL)
    return buffer.getvalue()
