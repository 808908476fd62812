"""Valid parameters that have no effect here: they are left out, and a hint says so.

Only tuning parameters are left out. Those that say what to generate (images, LoRAs, a camera move, a method, a sampler)
are refused by `resolve` and `conditioning` if unsupported, since the result would not be what was asked for.
"""

from __future__ import annotations

from collections.abc import Iterator

from core.generation.draft import Draft
from core.generation.hints import ignored_hint
from core.generation.request import Method
from core.generation.step_cache import StepCache
from core.generation.tuning import TUNING
from models.catalogue.entry import Entry
from models.catalogue.resolving.tuning import idle_tuning

DENOISING = (
    *("num_inference_steps", "guidance_scale", "negative_prompt", "strength", "scheduler", "step_cache"),
    *TUNING,
)
GUIDING = (
    *("negative_prompt", "negative_prompt_2", "guidance_rescale", "guidance_scale_2", "guidance_end"),
    *("audio_guidance_scale", "stg_scale", "modality_scale"),
)


def without_idle(draft: Draft, entry: Entry) -> tuple[Draft, tuple[str, ...]]:
    """Return a draft without the parameters that have no effect, and hints about those that were given."""
    reasons = {field: reason for field, reason in _idle(draft, entry) if _is_given(draft, field)}
    defaults = {field: Draft.model_fields[field].default for field in reasons}
    return draft.model_copy(update=defaults), tuple(ignored_hint(*idle) for idle in reasons.items())


def _is_given(draft: Draft, field: str) -> bool:
    value = getattr(draft, field)
    return bool(value.strip()) if isinstance(value, str) else value != Draft.model_fields[field].default


def _idle(draft: Draft, entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield each field that has no effect, with the reason."""
    task = draft.task
    yield from idle_tuning(draft, entry)
    yield from _idle_guidance(draft, entry)
    if not task.takes_strength:
        yield "strength", f"{task} has none"
    if not task.is_video:
        yield from ((field, f"{task} generates no video") for field in ("num_frames", "fps"))
    # Off is the default, and images' metadata has it for all models.
    if not entry.family_spec.denoises_in_steps and draft.step_cache is not StepCache.OFF:
        yield "step_cache", f"{entry.id} generates in one piece"
    if entry.family_spec.unguided is None:
        yield "guidance_end", f"{entry.id} has no unguided half to leave out"
    if draft.reference_image is None:
        yield "reference_scale", "there is no reference_image"
    if draft.control_image is None:
        yield from ((field, "there is no control_image") for field in ("control_type", "control_scale"))
    if entry.preview is None:
        yield "preview_every", f"{entry.id} has no previews"
    if draft.method is Method.DIFFUSION:
        yield "iterations", "diffusion has num_inference_steps"
    else:
        yield from ((field, f"{draft.method} does not denoise") for field in DENOISING)


def _idle_guidance(draft: Draft, entry: Entry) -> Iterator[tuple[str, str]]:
    scale, default = draft.guidance_scale, entry.tasks[draft.task].defaults.guidance_scale
    if not entry.takes_guidance and scale != default:
        yield "guidance_scale", f"{entry.id} has no input for guidance"
    if not entry.takes_negative_prompt:
        yield "negative_prompt", f"{entry.id} has no input for it"
    elif (default if scale is None else scale) <= entry.family_spec.guided_above:
        yield from ((field, "a guidance_scale this small is no guidance") for field in GUIDING)
