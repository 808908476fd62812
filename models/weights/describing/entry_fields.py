"""Makes the fields of an entry from what was seen of a checkpoint."""

from __future__ import annotations

import inspect
from math import ceil
from typing import Any

import diffusers

from core.generation.request import Task
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES, Family
from models.catalogue.sources import Source
from models.weights.describing.checkpoint_facts import CheckpointFacts, Weights
from models.weights.describing.few_steps import FewSteps, few_steps
from models.weights.describing.folders import OfNoFamily
from models.weights.describing.sampling import sampler_of
from models.weights.describing.templates import is_distilled, template

GIB = 2**30
WORK_GIB = {False: 2.5, True: 11.4}
"""Work memory per million pixels, of a picture (most of it for the decoder) or a video; from the shipped entries."""
UNGUIDED_STEPS = 50
UNGUIDED_SCALES = [0.0, 5.0]
GUIDED_LIMITS = {"max_steps": 100, "guidance_scale": [0.0, 20.0]}
UNDECLARED_BATCH_TOKENS = 32_768
SCALED = ("min_px", "max_px")


def entry_fields(look: CheckpointFacts, source: Source) -> dict[str, Any]:
    """Return all fields of an entry, in JSON types."""
    few = few_steps(look)
    family = FAMILIES[look.family]
    like = template(look, _weights_gib(look.weights, family, 2), few)
    sizes = _sizes(look, like)
    defaults = {**_written(like.defaults), **sizes["defaults"], **_steps(look, like, few)["defaults"]}
    limits = {**_written(like.limits), **sizes["limits"], **_steps(look, like, few)["limits"]}
    defaults["scheduler"] = _sampler(look, like, few, family)
    tasks = _tasks(look.tasks or tuple(family.pipelines), defaults)
    fields = {
        "title": look.name,
        "family": look.family,
        "source": source.model_dump(mode="json", exclude_none=True),
        "config": _config(look, family, like) if source.is_one_file else None,
        "dtype": _dtype(look.weights, like.dtype),
        "variant": look.variant,
        "licence": look.card.licence,
        "gated": look.card.gated,
        "defaults": defaults,
        "limits": limits,
        "tasks": tasks if look.tasks or any(tasks.values()) else None,
        "last_image": family.loops,
        "low_noise_expert": look.experts > 1,
        "memory_gib": _memory_gib(look, family, like, defaults),
        "download_gib": _download_gib(look.weights),
        "batch_tokens": like.batch_tokens,
        "preview": _preview(look, like),
    }
    return {name: value for name, value in fields.items() if value not in (None, False)}


def undeclared_entry_fields(found: OfNoFamily, own: dict[str, Any], source: Source) -> dict[str, Any]:
    """Return all fields of an entry whose pipeline no family declares; `own` are those that follow from its class."""
    pixels = own["defaults"]["width"] * own["defaults"]["height"]
    counted = sum(found.weights.parameters.values()) * 2 / GIB
    video = own["defaults"].get("num_frames", 1) > 1
    fields = {
        "title": found.name,
        "source": source.model_dump(mode="json", exclude_none=True),
        "dtype": "float16" if found.weights.stored == "F16" else "bfloat16",
        "variant": found.variant,
        "licence": found.card.licence,
        "gated": found.card.gated,
        "memory_gib": max(round(counted + WORK_GIB[video] * pixels / 1e6, 1), 0.1),
        "download_gib": _download_gib(found.weights),
        "batch_tokens": UNDECLARED_BATCH_TOKENS,
        **own,
    }
    return {name: value for name, value in fields.items() if value not in (None, False)}


def _download_gib(weights: Weights) -> float:
    return max(round(weights.download_bytes / GIB, 2), 0.01)


def _config(look: CheckpointFacts, family: Family, like: Entry) -> dict[str, Any] | None:
    """Return the `config` for a single file, if it is not the repository that its tensors would lead to."""
    named = next((repo for repo in look.bases if repo in family.bases), None)
    own = str(like.source.repo)
    if named is not None:
        # Mirrors outlive the originals.
        return {"repo": own} if own != named and own.rpartition("/")[2] == named.rpartition("/")[2] else None
    if look.tasks:
        return next(({"repo": repo} for repo in family.bases if "inpaint" in repo), None)
    return {"repo": own} if own != family.bases[0] else None


def _written(part: Any) -> dict[str, Any]:
    """Return only the defaults or limits that an entry's author wrote."""
    written: dict[str, Any] = part.model_dump(mode="json", exclude_unset=True)
    return written


def _sizes(look: CheckpointFacts, like: Entry) -> dict[str, dict[str, Any]]:
    """Return the size that a checkpoint was made for, and limits in proportion to those of the template."""
    native, own = look.native_px, like.defaults
    if native is None or own.width != own.height or native == own.width:
        return {"defaults": {}, "limits": {}}
    multiple = like.limits.multiple_px
    native = ceil(native / multiple) * multiple
    scale = native / own.width
    sides = {name: max(multiple, ceil(getattr(like.limits, name) * scale / multiple) * multiple) for name in SCALED}
    pixels = max(native**2, int(like.limits.max_pixels * scale**2))
    return {"defaults": {"width": native, "height": native}, "limits": {**sides, "max_pixels": pixels}}


def _steps(look: CheckpointFacts, like: Entry, few: FewSteps | None) -> dict[str, dict[str, Any]]:
    """Return the number of steps and the guidance, if they differ from the template's."""
    if few is not None and (few.exact or not is_distilled(like)):
        steps = max(few.steps, like.limits.min_steps)
        most = max(steps, like.limits.max_steps if is_distilled(like) else UNGUIDED_STEPS)
        if is_distilled(like) or not like.family_spec.negative_prompt:
            # The scale is an input of the model, or the template is distilled too.
            return {"defaults": {"num_inference_steps": steps}, "limits": {"max_steps": most}}
        unguided = like.family_spec.guided_above if like.defaults.num_frames > 1 else 0.0
        defaults = {"num_inference_steps": steps, "guidance_scale": unguided}
        return {"defaults": defaults, "limits": {"max_steps": most, "guidance_scale": UNGUIDED_SCALES}}
    if look.distilled is False and is_distilled(like):
        call = inspect.signature(getattr(diffusers, look.pipeline).__call__).parameters
        own = {name: call[name].default for name in ("num_inference_steps", "guidance_scale")}
        return {"defaults": own, "limits": GUIDED_LIMITS}
    return {"defaults": {}, "limits": {}}


def _sampler(look: CheckpointFacts, like: Entry, few: FewSteps | None, family: Family) -> str:
    own = sampler_of(look.sampler, family.schedulers)
    trailing = look.sampler.get("timestep_spacing", "") == "trailing"
    if own is not None and not (few and own == "euler" and not trailing):
        return own
    if few is None or is_distilled(like):
        return like.defaults.scheduler
    return next((name for name in (few.kind, "euler_trailing") if name in family.schedulers), like.defaults.scheduler)


def _tasks(tasks: tuple[Task, ...], defaults: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the tasks; image-to-image and inpainting get more steps if steps times strength would be less than one."""
    needed = ceil(1 / defaults.get("strength", 0.8))
    short = defaults["num_inference_steps"] < needed
    more = {"defaults": {"num_inference_steps": needed}}
    return {task.value: more if short and task.takes_strength else {} for task in tasks}


def _dtype(weights: Weights, usual: str) -> str:
    """Return the format: weights in bfloat16 may exceed float16's range."""
    return "bfloat16" if weights.stored == "BF16" else usual


def _weights_gib(weights: Weights, family: Family, number_bytes: int) -> float:
    total = 0.0
    for name, count in weights.parameters.items():
        if name == family.denoiser and weights.quantized_bytes is not None:
            total += weights.quantized_bytes
        else:
            total += count * (4 if name in family.float32_components else number_bytes)
    return total / GIB


def _memory_gib(look: CheckpointFacts, family: Family, like: Entry, defaults: dict[str, Any]) -> float:
    number_bytes = 4 if _dtype(look.weights, like.dtype) == "float32" else 2
    own = _weights_gib(look.weights, family, number_bytes)
    frames = defaults.get("num_frames", 1)
    work = WORK_GIB[frames > 1] * defaults["width"] * defaults["height"] / 1e6
    needed: float = own + work
    if look.alone:
        # The other components are the template's, whose denoiser is equally large.
        whole = look.weights.parameters[family.denoiser] * number_bytes / GIB
        quantized = look.weights.quantized_bytes
        needed = max(needed, like.memory_gib if quantized is None else like.memory_gib - whole + quantized / GIB)
    return max(round(needed, 1), 0.1)


def _preview(look: CheckpointFacts, like: Entry) -> dict[str, Any] | None:
    """Return the template's linear map, if its latents have as many channels."""
    if like.preview is None or look.latent_channels not in (None, len(like.preview.weight)):
        return None
    preview: dict[str, Any] = like.preview.model_dump(mode="json")
    return preview
