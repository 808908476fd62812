"""Splits a request for more images than the server makes at once into consecutive parts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core.generation.events import Clip, Event, Loading, Picture, Preview, Queued, Started, Step
from core.generation.request import GenerationRequest


def parts_of(request: GenerationRequest, most: int) -> Iterator[tuple[int, GenerationRequest]]:
    """Yield parts of at most `most` images, about equal in size, each after the index of its first image.

    Seeds continue from part to part, so the images are those of the whole request. Layers are never split.
    """
    parts = 1 if request.layered else -(-request.num_images // most)
    for part in range(parts):
        first, end = (number * request.num_images // parts for number in (part, part + 1))
        yield first, request.model_copy(update={"num_images": end - first, "seed": request.seed + first})


def in_whole(event: Event, first: int) -> Event | None:
    """Return a part's event as one of the whole request, or None if it would repeat that the request has begun."""
    if isinstance(event, Step | Preview | Picture | Clip):
        return replace(event, index=event.index + first)
    return None if first and isinstance(event, Loading | Queued | Started) else event
