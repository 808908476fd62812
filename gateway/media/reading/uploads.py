"""Checks and opens uploads in a few threads of their own, where they may wait for memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

from core.generation.request import GenerationRequest
from core.pixels.upload import UploadedImage, pixels_of

P = ParamSpec("P")
T = TypeVar("T")

_THREADS = ThreadPoolExecutor(4, "images")
"""Separate from the default threads, which do everything else and must not all wait for memory."""


async def in_image_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function that decodes or encodes images."""
    return await asyncio.get_running_loop().run_in_executor(_THREADS, partial(work, *args, **kwargs))


async def with_pixels(request: GenerationRequest) -> GenerationRequest:
    """Return the request with its uploads' pixels decoded, just before it goes to a runner."""
    if not any(_holds_upload(value) for _, value in request):
        return request
    return await in_image_thread(_opened, request)


def _opened(request: GenerationRequest) -> GenerationRequest:
    opened = {name: _pixels(value) for name, value in request if _holds_upload(value)}
    return request.model_copy(update=opened)


def _holds_upload(value: Any) -> bool:
    return any(isinstance(each, UploadedImage) for each in (value if isinstance(value, tuple) else (value,)))


def _pixels(value: Any) -> Any:
    return tuple(map(pixels_of, value)) if isinstance(value, tuple) else pixels_of(value)
