"""Typed APIs that answer with one file: a picture or a video."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from api.http.hints import vocabulary_hint
from api.http.refusals import refusal
from api.typed.forms import Call, PictureForm
from core.errors import Cancelled, GenerationFailed, InvalidRequest, JubakoError
from core.events import Result, Started
from gateway.gateway import Drawing, Gateway
from gateway.media.encoding import encode_result
from gateway.metrics import measured

T = TypeVar("T")


async def answer_with_file(gateway: Gateway, call: Call[PictureForm]) -> Response:
    """Draw what a call asks for and answer with the file, or with the reason why not."""
    try:
        return await unless_caller_leaves(call.request, _draw(gateway, call))
    except JubakoError as error:
        return refusal(error)


async def unless_caller_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and raise Cancelled when the caller disconnects first.

    The request's body must have been read.
    """
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(_disconnect(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise Cancelled("the caller went away")
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.wait({working, leaving})


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _draw(gateway: Gateway, call: Call[PictureForm]) -> Response:
    with measured() as measure:
        form = call.form
        measure.task = form.task
        if form.num_images != 1:
            raise InvalidRequest(
                "num_images", f"{form.num_images}, but this address answers with 1; POST /stream sends more"
            )
        file_format = form.file_format
        drawing = await gateway.accept(form.draft)
        measure.model = drawing.request.model
        result, timing = await _only_result(drawing)
        data = await asyncio.to_thread(encode_result, drawing.request, result, file_format, form.quality)
    headers = {"X-Jubako-Model": drawing.request.model, "X-Jubako-Seed": str(result.seed), **timing}
    if hint := vocabulary_hint(drawing.unknown_words):
        headers["X-Jubako-Hint"] = hint
    return Response(data, headers=headers, media_type=file_format.media_type)


async def _only_result(drawing: Drawing) -> tuple[Result, dict[str, str]]:
    queue_s, started = 0.0, time.perf_counter()
    async with aclosing(drawing.events()) as happenings:
        async for event in happenings:
            if isinstance(event, Started):
                queue_s, started = event.waited_s, time.perf_counter()
            if isinstance(event, Result):
                run_s = time.perf_counter() - started
                return event, {
                    "X-Jubako-Queue-Ms": str(round(queue_s * 1000)),
                    "X-Jubako-Run-Ms": str(round(run_s * 1000)),
                }
    raise GenerationFailed("the model ended without a picture")
