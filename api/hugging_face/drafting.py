"""From an inference to a draft: which model, and which of its tasks."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from api.http.refusals import InvalidForm
from api.http.requests.source_images import source_fields
from api.hugging_face.forms import InferenceParameters
from api.hugging_face.reading import Inference
from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.serving.choosing import meant

OF_TEXT = (Task.TEXT_TO_IMAGE, Task.TEXT_TO_VIDEO)
OF_IMAGE = (Task.EDIT, Task.IMAGE_TO_IMAGE, Task.IMAGE_TO_VIDEO)
OF_MASK = (Task.INPAINT, Task.EDIT)


def draft_of(inference: Inference, catalogue: Catalogue, model: str | None) -> Draft:
    """Return the draft of an inference; without a `model`, for the first that can do it. Raises InvalidRequest."""
    parameters = inference.parameters
    if parameters.num_images != 1:
        raise InvalidRequest("num_images", f"{parameters.num_images}, but the answer is one file")
    if parameters.mask_image is not None and inference.image is None:
        raise InvalidRequest("mask_image", "belongs to an image, but inputs is not an image")
    entry, task = meant(catalogue, model or parameters.model or None, _possible_tasks(inference))
    fields = {"prompt": inference.prompt, **_size(parameters), **_images(inference, task)}
    try:
        return Draft.of(parameters, task=task, model=entry.id, **fields)
    except ValidationError as error:
        raise InvalidForm(error) from error


def names_in(inference: Inference) -> dict[str, str]:
    """Return the names in an inference's body for a draft's fields, where they differ."""
    prompt = {"prompt": "inputs"} if inference.image is None else {}
    size = {} if inference.parameters.target_size is None else dict.fromkeys(("width", "height"), "target_size")
    return {"image": "inputs", "images": "inputs", "mask": "mask_image", "task": "model", **prompt, **size}


def _possible_tasks(inference: Inference) -> tuple[Task, ...]:
    """Return the tasks that an inference may mean, the likeliest first."""
    tasks = OF_TEXT if inference.image is None else OF_MASK if inference.parameters.mask_image is not None else OF_IMAGE
    parameters = inference.parameters
    if parameters.named_videos:
        return (Task.IMAGE_TO_VIDEO,)
    if parameters.num_frames is None and parameters.fps is None:
        return tasks
    return tuple(task for task in tasks if task.is_video) or tasks


def _size(parameters: InferenceParameters) -> dict[str, Any]:
    target = parameters.target_size
    if target is None:
        return {}
    if parameters.width is not None or parameters.height is not None:
        raise InvalidRequest("target_size", "says the same as width and height; give only one of them")
    return {"width": target.width, "height": target.height}


def _images(inference: Inference, task: Task) -> dict[str, Any]:
    if inference.image is None:
        return {}
    return {**source_fields((inference.image,), task, "inputs"), "mask": inference.parameters.mask_image}
