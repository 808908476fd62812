"""Turns an admitted request back into a draft, for `Gateway.admit` to check by the current rules."""

from __future__ import annotations

from typing import Any

from core.generation.animation import VIDEOS
from core.generation.draft import Draft
from core.generation.request import GenerationRequest, Task
from gateway.media.encoding import repeatable_fields


def repeated(request: GenerationRequest, **changes: Any) -> Draft:
    """Return a draft that repeats a request, with its seed and images, except for `changes`."""
    fields = {
        **repeatable_fields(request, request.step_cache),
        **_images_of(request),
        "seed": request.seed,
        "num_images": request.num_images,
        "priority": request.priority,
        "progress": True,
    }
    return Draft(**{**fields, **changes})


def _images_of(request: GenerationRequest) -> dict[str, Any]:
    # For an edit with a mask, the request has its first image in both fields.
    own = {"images": request.images} if request.task is Task.EDIT else {"image": request.image}
    guides = {name: getattr(request, name) for name in ("last_image", "reference_image", "control_image", *VIDEOS)}
    return {**own, **guides, "mask": request.mask}
