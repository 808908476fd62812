"""Typed APIs that answer with one file: an image or a video."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from pathlib import Path
from typing import Annotated

from _bentoml_sdk.io_models import IORootModel
from bentoml.validators import ContentType
from PIL import Image
from starlette.responses import Response

from api.http.disconnects import unless_disconnected
from api.http.refusals import refusal
from api.typed.forms import Call, PictureForm
from core.errors import GenerationFailed, InvalidRequest, JubakoError
from core.generation.events import Result, Started
from core.generation.hints import hint_header
from core.generation.request import GenerationRequest
from gateway.gateway import Gateway
from gateway.media.encoding import encode_result
from gateway.metrics import measured


class PictureFile(IORootModel[Image.Image]):
    """One image, as PNG, JPEG or WebP; the headers `X-Jubako-*` describe it."""


class VideoFile(IORootModel[Annotated[Path, ContentType("video/*")]]):
    """One video, as MP4, WebM or GIF; the headers `X-Jubako-*` describe it."""


async def answer_with_file(gateway: Gateway, call: Call[PictureForm]) -> Response:
    """Generate what a call asks for; answer with the file, or with the error."""
    try:
        return await unless_disconnected(call.request, _file(gateway, call))
    except JubakoError as error:
        return refusal(error)


async def _file(gateway: Gateway, call: Call[PictureForm]) -> Response:
    with measured() as measure:
        form = call.form
        measure.task = form.task
        if form.num_images != 1:
            raise InvalidRequest(
                "num_images", f"{form.num_images}, but this endpoint returns only 1; POST /stream returns several"
            )
        file_format = form.file_format
        admitted = (await gateway.admit(form.draft)).hinted(*form.idle_hints)
        measure.model = admitted.model
        result, described = await _only_result(gateway, admitted)
        data = await asyncio.to_thread(encode_result, admitted, result, file_format, form.quality)
    headers = {"X-Jubako-Model": admitted.model, "X-Jubako-Seed": str(result.seed), **described}
    return Response(data, headers=headers, media_type=file_format.media_type)


async def _only_result(gateway: Gateway, request: GenerationRequest) -> tuple[Result, dict[str, str]]:
    """Generate; return the result and the headers that say how."""
    queue_s, started, hint = 0.0, time.perf_counter(), None
    async with aclosing(gateway.draw(request)) as events:
        async for event in events:
            if isinstance(event, Started):
                queue_s, started, hint = event.waited_s, time.perf_counter(), event.hint
            if isinstance(event, Result):
                run_s = time.perf_counter() - started
                return event, {
                    "X-Jubako-Queue-Ms": str(round(queue_s * 1000)),
                    "X-Jubako-Run-Ms": str(round(run_s * 1000)),
                    "X-Jubako-Skipped-Steps": str(event.skipped_steps),
                    "X-Jubako-Tiled": str(event.tiled).lower(),
                    **hint_header(hint),
                }
    raise GenerationFailed("the model ended without an image")
