"""The images that a request works on: one list in the contracts, two fields in a draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import InvalidRequest
from core.generation.request import Task
from core.pixels.upload import Pixels


def source_fields(images: Sequence[Pixels], task: Task, field: str) -> dict[str, Any]:
    """Return a draft's fields for at least one image: an edit sees all of them, other tasks start from one.

    Raises InvalidRequest for `field`, the contract's name, where only one image is allowed.
    """
    if task is Task.EDIT:
        return {"image": None, "images": tuple(images)}
    if len(images) > 1:
        raise InvalidRequest(field, f"{len(images)} were given; {task} starts from one image")
    return {"image": images[0], "images": ()}
