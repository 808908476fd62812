"""The images that a request works on, which contracts take as one list, and tasks by two fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.errors import InvalidRequest
from core.generation.request import Task
from core.pixels.upload import Pixels


def source_fields(images: Sequence[Pixels], task: Task, field: str) -> dict[str, Any]:
    """Return a draft's fields for at least one image: an edit sees all of them, and other tasks start from one.

    Raises InvalidRequest, with the contract's name of the field, for several where there may be one.
    """
    if task is Task.EDIT:
        return {"image": None, "images": tuple(images)}
    if len(images) > 1:
        raise InvalidRequest(field, f"{len(images)} were given; {task} starts from one image")
    return {"image": images[0], "images": ()}
