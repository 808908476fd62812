"""One generated file as a whole response, with headers that say how it was generated."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing

from starlette.responses import Response

from core.errors import GenerationFailed
from core.generation.events import Result, Started
from core.generation.hints import hint_header
from core.generation.request import GenerationRequest, Task
from gateway.gateway import Gateway
from gateway.media.encoding import DEFAULT_QUALITY, OutputFormat, encode_result, has_sound

_VIDEOS = frozenset(task for task in Task if task.is_video)


def sound_header(task: str, sound: bool) -> dict[str, str]:
    """Return the header that says whether a video has sound; images have none."""
    return {"X-Jubako-Sound": str(sound).lower()} if task in _VIDEOS else {}


async def drawn_file(
    gateway: Gateway, request: GenerationRequest, output_format: OutputFormat, quality: int = DEFAULT_QUALITY
) -> Response:
    """Generate an admitted request's only image or clip. Raises the JubakoError that ended it."""
    result, described = await _only_result(gateway, request)
    data = await asyncio.to_thread(encode_result, request, result, output_format, quality)
    if request.upscale is not None:
        described["X-Jubako-Upscaler"] = gateway.upscaler.name
    headers = {"X-Jubako-Model": request.model, "X-Jubako-Seed": str(result.seed), **described}
    headers |= sound_header(request.task, has_sound(result, output_format))
    return Response(data, headers=headers, media_type=output_format.media_type)


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
