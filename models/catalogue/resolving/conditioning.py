"""What conditions an image besides its prompt: LoRAs, a reference image, a control image, the camera."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.errors import InvalidRequest
from core.generation.draft import MOST_LORAS, Draft
from core.generation.request import Lora
from core.pixels.fitting import Size
from models.catalogue.entry import Entry
from models.catalogue.limits import Limits
from models.catalogue.resolving.checks import at_most, known
from models.catalogue.resolving.sizes import fit_for, looked_at, resized

REFERENCE_PIXELS = 2**20
"""Image encoders see only a few hundred pixels a side."""
FIRST_AND_LAST = 2


def prompt_of(draft: Draft, entry: Entry) -> str:
    """Return the prompt, preceded by the phrase for the camera move. Raises InvalidRequest."""
    if draft.camera is None:
        return draft.prompt.strip()
    if not entry.camera:
        raise InvalidRequest("camera", f"{entry.id} was not trained for camera moves")
    return f"{draft.camera.phrase} {draft.prompt.strip()}".strip()


def loras_of(draft: Draft, entry: Entry) -> tuple[Lora, ...]:
    """Return the LoRAs to apply, in order of name. Raises InvalidRequest for one that is unknown or given twice."""
    names = [lora.name for lora in draft.loras]
    at_most("loras", len(names), MOST_LORAS)
    for name in names:
        known("loras", name, entry.choosable_loras)
        if names.count(name) > 1:
            raise InvalidRequest("loras", f"{name!r} is given {names.count(name)} times")
    return tuple(sorted((lora for lora in draft.loras if lora.scale != 0), key=lambda lora: lora.name))


def reference_of(draft: Draft, entry: Entry) -> Mapping[str, Any]:
    """Return the request's fields for an IP-Adapter. Raises InvalidRequest."""
    if draft.reference_image is None:
        return {}
    if entry.ip_adapter is None:
        raise InvalidRequest("reference_image", f"{entry.id} has no IP-Adapter")
    scale = entry.ip_adapter.scale if draft.reference_scale is None else draft.reference_scale
    image = looked_at(draft.reference_image, REFERENCE_PIXELS)
    return {"reference_image": image, "reference_scale": scale}


def last_image_of(draft: Draft, entry: Entry, frames: int, size: Size, limits: Limits) -> Mapping[str, Any]:
    """Return the request's field for the last image of a video. Raises InvalidRequest."""
    if draft.last_image is None:
        return {}
    if not entry.last_image:
        raise InvalidRequest("last_image", f"{entry.id} takes none")
    if frames < FIRST_AND_LAST:
        raise InvalidRequest("num_frames", f"{frames} is less than {FIRST_AND_LAST}: the first and the last")
    return {"last_image": resized(draft.last_image, *size, fit_for(draft, draft.last_image, size, limits))}


def control_of(draft: Draft, entry: Entry, size: Size, limits: Limits) -> Mapping[str, Any]:
    """Return the request's fields for a ControlNet. Raises InvalidRequest."""
    if draft.control_image is None:
        return {}
    if not entry.controlnets:
        raise InvalidRequest("control_image", f"{entry.id} has no ControlNet")
    if draft.task not in entry.family_spec.controlled:
        able = ", ".join(task for task in entry.family_spec.controlled if task in entry.tasks)
        raise InvalidRequest(
            "control_image", f"{draft.task} of {entry.id} takes none; these tasks do: {able or 'none'}"
        )
    if draft.reference_image is not None and entry.refuses_both(draft.task):
        raise InvalidRequest("control_image", f"{draft.task} of {entry.id} takes none beside a reference_image")
    if draft.control_type is None and len(entry.controlnets) > 1:
        raise InvalidRequest("control_type", f"choose one of {', '.join(sorted(entry.controlnets))}")
    kind = known("control_type", draft.control_type or next(iter(entry.controlnets)), entry.controlnets)
    net = entry.controlnets[kind]
    scale = net.scale if draft.control_scale is None else draft.control_scale
    image = resized(draft.control_image, *size, fit_for(draft, draft.control_image, size, limits), "black")
    return {"control_image": image, "control_type": kind, "control_scale": scale, "control_mode": net.mode}
