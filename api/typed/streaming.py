"""The typed API that answers with server-sent events.

    event: loading   {"progress", "download"}
    event: queued    {"position"}
    event: started   {"model", "task", "seed", "waited_s", "hint"}
    event: step      {"index", "step", "steps"}
    event: preview   {"index", "step", "image", "media_type"}
    event: image     {"index", "seed", "image", "media_type", "parameters"}
    event: video     {"index", "seed", "video", "media_type", "parameters"}
    event: error     {"error", "code", "status"}, and "retry_after_s" where trying again may help
    event: done      {"images" or "videos", "seconds"}

Images and videos are base64. An error before the first event is an ordinary error response, not a stream. Comments keep
a silent stream open.
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Any

from _bentoml_sdk.io_models import IORootModel
from starlette.responses import Response

from api.http.refusals import refusal, refusal_body
from api.http.responses.streams import event_text, started_stream
from api.typed.forms import Stream, TypedCall
from core.errors import JubakoError, retry_fields
from core.generation.events import Clip, Event, Loading, Picture, Preview, Queued, Result, Started, Step
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat, encode_preview, encode_result, has_sound, parameters_of
from gateway.metrics import measured


class EventStream(IORootModel[str]):
    """Text that BentoML's clients iterate over; an error before the first event is an HTTP error."""

    @classmethod
    async def to_http_response(cls, obj: AsyncGenerator[str, None], serde: object) -> Response:  # noqa: ARG003  # BentoML's signature
        try:
            return await started_stream(obj, _error_text)
        except JubakoError as error:
            return refusal(error)


async def stream_events(gateway: Gateway, call: TypedCall[Stream]) -> AsyncGenerator[str, None]:
    """Generate what a call asks for, event by event. Raises the JubakoError that ended it."""
    started, results = time.perf_counter(), 0
    with measured() as measure:
        form = call.form
        measure.task = form.task
        file_format = form.file_format
        request = gateway.with_file_hints(await gateway.admit(form.draft), file_format, form.quality)
        measure.model = request.model
        render = partial(_event_text, request=request, file_format=file_format, quality=form.quality)
        async with aclosing(gateway.draw(request)) as events:
            async for event in events:
                results += isinstance(event, Result)
                yield await asyncio.to_thread(render, event)
    counted = "videos" if form.task.is_video else "images"
    yield event_text("done", {counted: results, "seconds": round(time.perf_counter() - started, 3)})


def _error_text(error: JubakoError) -> str:
    return event_text("error", {**refusal_body(error), "status": error.status, **retry_fields(error)})


def _event_text(event: Event, request: GenerationRequest, file_format: OutputFormat, quality: int) -> str:
    match event:
        case Loading() | Queued() | Step():
            return event_text(type(event).__name__.lower(), asdict(event))
        case Started():
            return event_text("started", _started_fields(event, request))
        case Preview():
            image = _file_fields("image", encode_preview(event.image), OutputFormat.PNG)
            return event_text("preview", {"index": event.index, "step": event.step, **image})
        case Picture() | Clip():
            name = "video" if isinstance(event, Clip) else "image"
            file = _file_fields(name, encode_result(request, event, file_format, quality), file_format)
            parameters = parameters_of(request, event)
            made = {
                "index": event.index,
                "seed": event.seed,
                "skipped_steps": event.skipped_steps,
                "tiled": event.tiled,
            }
            heard = {"sound": has_sound(event, file_format)} if isinstance(event, Clip) else {}
            return event_text(name, {**made, **heard, **file, "parameters": parameters})
        case _:
            raise AssertionError(f"{event} is not an event of a stream")


def _started_fields(event: Started, request: GenerationRequest) -> dict[str, Any]:
    return {
        "model": request.model,
        "task": request.task,
        "seed": request.seed,
        "waited_s": round(event.waited_s, 3),
        "hint": event.hint,
    }


def _file_fields(name: str, data: bytes, file_format: OutputFormat) -> dict[str, str]:
    return {"media_type": file_format.media_type, name: base64.b64encode(data).decode()}
