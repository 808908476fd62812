"""Requests that a runner makes up to try its model, before anybody else's."""

from __future__ import annotations

from typing import Any

from PIL import Image

from core.errors import LoadFailed
from core.generation.request import Task


def task_inputs(task: Task, image: Image.Image, mask: Image.Image) -> dict[str, Any]:
    """Return a draft's fields for what a task works on."""
    return {
        "task": task,
        "image": image if task.takes_image else None,
        "mask": mask if task is Task.INPAINT else None,
        "images": (image,) if task is Task.EDIT else (),
        "strength": 1.0 if task.takes_strength else None,
    }


def first_image_failed(model: str, why: str) -> LoadFailed:
    return LoadFailed(f"{model} is loaded, but its first image failed: {why}")
