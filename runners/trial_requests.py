"""Requests by which a runner tries out its model before it takes real ones."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from PIL import Image

from core.errors import LoadFailed
from core.generation.request import Task
from core.pixels.video import UploadedVideo
from models.catalogue.entry import Entry
from models.catalogue.resolving.animation_videos import FOLLOWED

TRIAL_VIDEO_PX = 64
"""The longer side of a video whose frames are all of one shade."""


def task_inputs(entry: Entry, task: Task, image: Image.Image, mask: Image.Image, num_frames: int) -> dict[str, Any]:
    """Return a draft's fields for the inputs of a model's task."""
    animated = entry.family_spec.animation is not None
    return {
        **(dict.fromkeys(FOLLOWED, _video(image, num_frames)) if animated else {}),
        "task": task,
        "image": image if task.takes_image else None,
        "mask": mask if task is Task.INPAINT else None,
        "images": (image,) if task is Task.EDIT else (),
        "strength": 1.0 if task.takes_strength else None,
    }


def _video(image: Image.Image, num_frames: int) -> UploadedVideo:
    """Return a video with the proportions of an image."""
    image = image.convert("L")
    image.thumbnail((TRIAL_VIDEO_PX, TRIAL_VIDEO_PX))
    # Frames must differ, since a GIF merges equal ones.
    first, *rest = (Image.new("L", image.size, number % 256) for number in range(num_frames))
    file = BytesIO()
    first.save(file, "GIF", save_all=True, append_images=rest)
    return UploadedVideo(file.getvalue(), image.size, num_frames, fps=0)


def first_image_failed(model: str, why: str) -> LoadFailed:
    return LoadFailed(f"{model} is loaded, but its first image failed: {why}")
