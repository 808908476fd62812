"""From a draft to a complete request: the model's defaults filled in, every limit checked.

Nothing that passes here can be refused by a pipeline for its parameters.
"""

from __future__ import annotations

import math
import secrets
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from errors import InvalidRequest
from models.catalogue import Catalogue, Entry, Limits
from models.draft import Draft
from models.request import MAX_SEED, GenerationRequest, Task
from models.schedulers import SCHEDULERS

Number = TypeVar("Number", int, float)

RANDOM_SEEDS = 2**32
"""Random seeds stay below this: JavaScript cannot hold every integer up to MAX_SEED."""


@dataclass(frozen=True)
class ServerLimits:
    """The limits that are the operator's and not a model's."""

    max_prompt_chars: int
    max_num_images: int
    max_deadline_s: float


def resolve(draft: Draft, catalogue: Catalogue, server: ServerLimits) -> GenerationRequest:
    """Complete and check a draft. Raises UnknownModel, or InvalidRequest for the first wrong field."""
    entry = catalogue.default if draft.model is None else catalogue.get(draft.model)
    _check_task(draft, entry)
    _check_prompts(draft, server)
    width, height = _size(draft, entry)
    _check_size(width, height, entry.limits)
    return GenerationRequest(
        model=entry.id,
        task=draft.task,
        prompt=draft.prompt.strip(),
        negative_prompt=draft.negative_prompt.strip(),
        width=width,
        height=height,
        num_inference_steps=_steps(draft, entry),
        guidance_scale=_guidance_scale(draft, entry),
        seed=_seed(draft),
        num_images=_at_most("num_images", draft.num_images, server.max_num_images),
        scheduler=_scheduler(draft, entry),
        strength=_strength(draft, entry),
        image=_resized(draft.image, width, height, Image.Resampling.LANCZOS),
        # A mask stays hard: what its author did not paint must not be repainted a little.
        mask=_resized(draft.mask, width, height, Image.Resampling.NEAREST),
        priority=draft.priority,
        deadline_s=_at_most("deadline_s", draft.deadline_s or server.max_deadline_s, server.max_deadline_s),
        progress=draft.progress,
        preview_every=draft.preview_every,
    )


def fitted_size(width: int, height: int, limits: Limits) -> tuple[int, int]:
    """Return the size in which an uploaded image of this size is drawn, unless its caller asks for one.

    The image is scaled, keeping its proportions, until it is within the limits, and each side is rounded to
    the nearest allowed multiple. A picture more elongated than the limits allow is squeezed.
    """
    largest = min(limits.max_px / max(width, height), math.sqrt(limits.max_pixels / (width * height)))
    scale = max(min(1.0, largest), limits.min_px / min(width, height))
    sides = [_nearest_allowed(side * scale, limits) for side in (width, height)]
    while sides[0] * sides[1] > limits.max_pixels:
        sides[sides.index(max(sides))] -= limits.multiple_px
    return sides[0], sides[1]


def _nearest_allowed(side: float, limits: Limits) -> int:
    multiple = limits.multiple_px
    smallest, largest = math.ceil(limits.min_px / multiple), limits.max_px // multiple
    return multiple * min(max(round(side / multiple), smallest), largest)


def _check_task(draft: Draft, entry: Entry) -> None:
    if draft.task not in entry.tasks:
        raise InvalidRequest("task", f"{entry.id} cannot do {draft.task}; it can do {', '.join(entry.tasks)}")
    needs_image, needs_mask = draft.task is not Task.TEXT_TO_IMAGE, draft.task is Task.INPAINT
    for field, value, needed in (("image", draft.image, needs_image), ("mask", draft.mask, needs_mask)):
        if needed and value is None:
            raise InvalidRequest(field, f"{draft.task} needs one")
        if value is not None and not needed:
            raise InvalidRequest(field, f"{draft.task} takes none")
    if draft.image and draft.mask and draft.image.size != draft.mask.size:
        raise InvalidRequest(
            "mask",
            f"is {_by(draft.mask.size)} pixels, but the image is {_by(draft.image.size)}; they must be equal",
        )


def _check_prompts(draft: Draft, server: ServerLimits) -> None:
    if not draft.prompt.strip():
        raise InvalidRequest("prompt", f"is empty; write 1 to {server.max_prompt_chars} characters")
    for field, text in (("prompt", draft.prompt), ("negative_prompt", draft.negative_prompt)):
        if len(text) > server.max_prompt_chars:
            raise InvalidRequest(field, f"has {len(text)} characters; at most {server.max_prompt_chars} are allowed")


def _size(draft: Draft, entry: Entry) -> tuple[int, int]:
    if draft.image is None:
        width, height = entry.defaults.width, entry.defaults.height
    else:
        width, height = fitted_size(*draft.image.size, entry.limits)
    return draft.width or width, draft.height or height


def _check_size(width: int, height: int, limits: Limits) -> None:
    for field, side in (("width", width), ("height", height)):
        _within(field, side, limits.min_px, limits.max_px)
        if side % limits.multiple_px:
            raise InvalidRequest(field, f"{side} is not a multiple of {limits.multiple_px}")
    if width * height > limits.max_pixels:
        raise InvalidRequest(
            "width", f"{width} x {height} is {width * height} pixels; at most {limits.max_pixels} are allowed"
        )


def _steps(draft: Draft, entry: Entry) -> int:
    steps = draft.num_inference_steps or entry.defaults.num_inference_steps
    return _within("num_inference_steps", steps, 1, entry.limits.max_steps)


def _guidance_scale(draft: Draft, entry: Entry) -> float:
    scale = entry.defaults.guidance_scale if draft.guidance_scale is None else draft.guidance_scale
    return _within("guidance_scale", scale, *entry.limits.guidance_scale)


def _strength(draft: Draft, entry: Entry) -> float:
    if draft.task is Task.TEXT_TO_IMAGE:
        if draft.strength is not None:
            raise InvalidRequest("strength", f"{draft.task} takes none")
        return 1.0
    strength = entry.defaults.strength if draft.strength is None else draft.strength
    steps = _steps(draft, entry)
    if int(steps * strength) < 1:
        least = math.ceil(1000 / steps) / 1000
        raise InvalidRequest("strength", f"{strength} of {steps} steps is no step at all; at least {least}")
    return strength


def _seed(draft: Draft) -> int:
    if draft.seed is None:
        return secrets.randbelow(RANDOM_SEEDS)
    return _at_most("seed", draft.seed, MAX_SEED - draft.num_images + 1)


def _scheduler(draft: Draft, entry: Entry) -> str:
    name = draft.scheduler or entry.defaults.scheduler
    if name not in SCHEDULERS:
        raise InvalidRequest("scheduler", f"{name!r} is unknown; known: {', '.join(sorted(SCHEDULERS))}")
    return name


def _resized(image: Image.Image | None, width: int, height: int, resampling: Image.Resampling) -> Image.Image | None:
    return image if image is None or image.size == (width, height) else image.resize((width, height), resampling)


def _within(field: str, value: Number, lowest: float, highest: float) -> Number:
    if not lowest <= value <= highest:
        raise InvalidRequest(field, f"{value} is not between {lowest} and {highest}")
    return value


def _at_most(field: str, value: Number, highest: float) -> Number:
    if value > highest:
        raise InvalidRequest(field, f"{value} is more than {highest}, the most this server allows")
    return value


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
