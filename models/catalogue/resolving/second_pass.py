"""The second pass at a larger size: whether a model supports it, the result's size, and the number of steps."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.hires import USUAL_SCALE, Hires, SecondPass
from core.generation.request import Task
from core.pixels.fitting import Size
from models.catalogue.entry import Entry
from models.catalogue.limits import Limits
from models.catalogue.resolving.checks import within
from models.catalogue.resolving.sizes import PROPORTION, check_size, too_long

FIELD = "hires"
_TASK = Task.IMAGE_TO_IMAGE


def second_pass_of(
    draft: Draft, entry: Entry, size: Size, steps: int, scheduler: str, *, upscales: bool
) -> Mapping[str, Any]:
    """Return the request's field for a second pass over images of this size. Raises InvalidRequest.

    `upscales` says whether the server has a model for upscaling between the passes.
    """
    if draft.hires is None:
        return {}
    _check_possible(draft, entry)
    settings, wanted = entry.tasks[_TASK], draft.hires
    if wanted.upscaler == "model" and not upscales:
        raise InvalidRequest(f"{FIELD}.upscaler", "the server has no upscaling model (JUBAKO_UPSCALER); write lanczos")
    width, height = _size(wanted, size, settings.limits)
    steps = wanted.num_inference_steps or steps
    most = entry.family_spec.schedulers[scheduler].max_steps or settings.limits.max_steps
    within(f"{FIELD}.num_inference_steps", steps, settings.limits.min_steps, min(most, settings.limits.max_steps))
    strength = settings.defaults.strength if wanted.strength is None else wanted.strength
    if int(steps * strength) < 1:
        least = math.ceil(1000 / steps) / 1000
        raise InvalidRequest(f"{FIELD}.strength", f"{strength} of {steps} steps is no step at all; at least {least}")
    sizes = {"width": width, "height": height}
    upscaler = wanted.upscaler or "lanczos"
    return {FIELD: SecondPass(**sizes, strength=strength, num_inference_steps=steps, upscaler=upscaler)}


def _check_possible(draft: Draft, entry: Entry) -> None:
    if draft.task is not Task.TEXT_TO_IMAGE:
        raise InvalidRequest(FIELD, f"{draft.task} has no second pass; text-to-image has")
    if _TASK not in entry.tasks:
        raise InvalidRequest(FIELD, f"{entry.id} cannot do {_TASK}, which the second pass is")
    if draft.control_image is None:
        return
    if _TASK not in entry.family_spec.controlled:
        raise InvalidRequest(FIELD, f"{entry.id} cannot do {_TASK} with a control_image")
    if draft.reference_image is not None and entry.refuses_both(_TASK):
        raise InvalidRequest(FIELD, f"{entry.id} cannot do {_TASK} with a control_image beside a reference_image")


def _size(wanted: Hires, size: Size, limits: Limits) -> Size:
    """Return the result's size; a side that the request does not give is rounded to the model's multiple."""
    if wanted.scale is not None and (wanted.width or wanted.height):
        raise InvalidRequest(f"{FIELD}.scale", "cannot be given together with width or height")
    across, down = wanted.width, wanted.height
    scale = across / size[0] if across else down / size[1] if down else wanted.scale or USUAL_SCALE
    multiple = limits.multiple_px
    rounded = [multiple * max(1, round(side * scale / multiple)) for side in size]
    width, height = across or rounded[0], down or rounded[1]
    check_size(width, height, limits, f"{FIELD}.")
    if too_long(width, height):
        raise InvalidRequest(f"{FIELD}.width", f"{width} x {height}: {PROPORTION}")
    return width, height
