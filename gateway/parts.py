"""A request for more images than the server makes at once, as several that follow each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from core.generation.events import Clip, Event, Loading, Picture, Preview, Queued, Started, Step
from core.generation.request import GenerationRequest


def parts_of(request: GenerationRequest, most: int) -> Iterator[tuple[int, GenerationRequest]]:
    """Yield requests of at most so many images, about equally many, and the index of the first image of each.

    Their seeds go on, so the images are those of the whole request. Layers are made at once, whatever their number.
    """
    parts = 1 if request.layered else -(-request.num_images // most)
    for part in range(parts):
        first, end = (number * request.num_images // parts for number in (part, part + 1))
        yield first, request.model_copy(update={"num_images": end - first, "seed": request.seed + first})


def in_whole(event: Event, first: int) -> Event | None:
    """Return a part's event as the whole request has it: None for the further starts of one that has begun."""
    if isinstance(event, Step | Preview | Picture | Clip):
        return replace(event, index=event.index + first)
    return None if first and isinstance(event, Loading | Queued | Started) else event
