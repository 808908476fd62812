"""The web UI's hires fix: `enable_hr` of `txt2img`, with the fields beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from api.a1111.extras import upscaler_names
from api.a1111.requests.forms import TextForm
from core.errors import InvalidRequest
from core.generation.hints import ignored_hint
from core.generation.request import Task
from gateway.upscaling import LANCZOS, Upscaler
from models.catalogue.entry import Entry

USUAL_STRENGTH = 0.75
"""The default of the web UI's API."""
LATENT = "latent"
_SAME = ("", "use same sampler", "use same scheduler", "use same checkpoint", "automatic", "none")
"""Values that mean: as in the first pass."""


def hires_of(form: TextForm, entry: Entry, upscaler: Upscaler) -> dict[str, Any] | None:
    """Return the draft's field for a second pass. Raises InvalidRequest."""
    if not form.enable_hr:
        return None
    _check_same(form)
    _check_upscaler(form.hr_upscaler, upscaler)
    sides = {"width": form.hr_resize_x or None, "height": form.hr_resize_y or None}
    size: dict[str, Any] = sides if any(sides.values()) else {"scale": form.hr_scale}
    upscaling = "model" if _is_model(form.hr_upscaler, upscaler) else "lanczos"
    strength, steps = _strength(form), _whole_steps(form, entry)
    return {**size, "strength": strength, "num_inference_steps": steps, "upscaler": upscaling}


def hires_hints(form: TextForm, entry: Entry, upscaler: Upscaler) -> Iterator[str]:
    """Yield hints about the second pass."""
    if not form.enable_hr:
        return
    named = form.hr_upscaler
    if named is not None and named.lower() not in ("none", LANCZOS.lower()) and not _is_model(named, upscaler):
        yield ignored_hint("hr_upscaler", f"images are upscaled by {LANCZOS}")
    done = int(_whole_steps(form, entry) * _strength(form))
    if done < _steps(form, entry):
        yield f"hr_second_pass_steps: {_steps(form, entry)} became {done}, all that {entry.id} does at this strength"


def hires_names(form: TextForm) -> dict[str, str]:
    """Return A1111's names for the second pass's fields, by our names in errors."""
    by_size = form.hr_resize_x or form.hr_resize_y
    return {
        "hires": "enable_hr",
        "hires.scale": "hr_scale",
        "hires.width": "hr_resize_x" if by_size else "hr_scale",
        "hires.height": "hr_resize_y" if by_size else "hr_scale",
        "hires.strength": "denoising_strength",
        "hires.num_inference_steps": "hr_second_pass_steps",
        "hires.upscaler": "hr_upscaler",
    }


def _strength(form: TextForm) -> float:
    return USUAL_STRENGTH if form.denoising_strength is None else form.denoising_strength


def _steps(form: TextForm, entry: Entry) -> int:
    """Return how many steps the web UI's second pass does: all of them, whatever its strength."""
    usual = form.steps or entry.tasks[Task.TEXT_TO_IMAGE].defaults.num_inference_steps
    return form.hr_second_pass_steps or usual


def _whole_steps(form: TextForm, entry: Entry) -> int:
    """Return how many steps to ask for so that the strength leaves `_steps`, within the model's limits."""
    steps = math.ceil(_steps(form, entry) / (_strength(form) or 1))
    settings = entry.tasks.get(Task.IMAGE_TO_IMAGE)
    return steps if settings is None else min(steps, settings.limits.max_steps)


def _check_same(form: TextForm) -> None:
    """Both passes have one model, sampler and prompt."""
    first = {
        "hr_checkpoint_name": form.override_settings.sd_model_checkpoint,
        "hr_sampler_name": form.sampler_name,
        "hr_scheduler": form.scheduler,
        "hr_prompt": form.prompt,
        "hr_negative_prompt": form.negative_prompt,
    }
    for field, value in first.items():
        given = getattr(form, field)
        if given and given.strip().lower() not in _SAME and given != value:
            raise InvalidRequest(field, "is not supported: the second pass is like the first; leave it empty")


def _is_model(name: str | None, upscaler: Upscaler) -> bool:
    return upscaler.upscale_tile is not None and (name or "").lower() == upscaler.name.lower()


def _check_upscaler(name: str | None, upscaler: Upscaler) -> None:
    known = upscaler_names(upscaler)
    given = (name or known[0]).lower()
    if given not in (each.lower() for each in known) and not given.startswith(LATENT):
        raise InvalidRequest("hr_upscaler", f"{str(name)[:60]!r} is unknown; known: {', '.join(known)}, Latent")
