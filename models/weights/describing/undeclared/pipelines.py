"""Makes fields of entries for pipelines that no family declares."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from math import lcm
from pathlib import Path
from typing import Any

import diffusers
from diffusers import DiffusionPipeline

from core.errors import LoadFailed
from core.generation.tuning import MOST_STEPS
from models.catalogue.families.generic import CHECKPOINT, GENERIC
from models.weights.describing.undeclared.call_signatures import (
    FRAMES,
    UNDERSTOOD,
    PipelineClass,
    arguments_of,
    default_of,
    relatives,
    tasks_of,
    usual_latents,
    why_unsupported,
)
from models.weights.describing.undeclared.configurations import Configurations

USUAL_PX, USUAL_STEPS, USUAL_FRAMES = 512, 30, 17
SMALLEST_PX = 64
MOST_GUIDANCE = 20.0


def undeclared_fields(folder: Path, pipeline: str) -> dict[str, Any]:
    """Return family, pipeline, defaults and limits for a class of pipelines.

    `folder` has model_index.json and the configurations of its components. Raises LoadFailed for a class that takes no
    prompt, or needs an argument that no request can give.
    """
    configs = Configurations(folder)
    first = _pipeline_class(pipeline, configs.index)
    if (why := why_unsupported(first)) is not None:
        raise LoadFailed(why)
    classes = {task: each for each in (*relatives(first, configs.index), first) for task in tasks_of(each)}
    # The task of its own class comes first, since the model is loaded as that class.
    tasks = dict.fromkeys((*tasks_of(first), *classes))
    return {
        "family": GENERIC,
        "pipeline": {
            "tasks": {str(task): _task(classes[task], configs) for task in tasks},
            "scheduler": _scheduler(first, configs),
            "flow": configs.follows_flow,
            "denoiser": configs.denoiser_name,
            "size_multiple_px": configs.multiple_px,
            "frames_multiple": configs.frames_multiple,
            "prompt_tokens": _prompt_tokens(first, configs),
        },
        **_usual(first, configs),
    }


def _pipeline_class(name: str, index: Mapping[str, Any]) -> PipelineClass:
    if isinstance(index.get("_class_name"), list):
        raise LoadFailed("its pipeline is code of its own, which is not run")
    found = getattr(diffusers, name, None)
    if not (inspect.isclass(found) and issubclass(found, DiffusionPipeline)):
        made = index.get("_diffusers_version", "another version")
        raise LoadFailed(f"diffusers {diffusers.__version__} has no {name}; it was made with {made}")
    return found


def _task(pipeline_class: PipelineClass, configs: Configurations) -> dict[str, Any]:
    understood = UNDERSTOOD - {*FRAMES} if configs.fixed_frames else UNDERSTOOD
    arguments = [name for name in arguments_of(pipeline_class) if name in understood]
    return {"pipeline": pipeline_class.__name__, "arguments": arguments}


def _scheduler(pipeline_class: PipelineClass, configs: Configurations) -> str:
    found = configs.get("scheduler", {}).get("_class_name")
    if not isinstance(found, str):
        raise LoadFailed(f"{pipeline_class.__name__} has no scheduler of its own: it combines other pipelines")
    return found


def _prompt_tokens(pipeline_class: PipelineClass, configs: Configurations) -> dict[str, int | None]:
    """Return how many tokens each encoder reads: CLIP its maximum, others what their pipeline passes on."""
    # Less one, for the token that ends a text.
    usual = default_of(pipeline_class, "max_sequence_length", 0) - 1
    tokenizers = {name: str(configs[name].get("tokenizer_class")) for name in configs if name.startswith("tokenizer")}
    return {name: None if "CLIP" in kind or usual < 0 else usual for name, kind in tokenizers.items()}


def _usual(pipeline_class: PipelineClass, configs: Configurations) -> dict[str, Any]:
    """Return defaults and limits: what the signature has, and the size that the denoiser was trained in."""
    multiple = configs.multiple_px
    width, height = (_side(pipeline_class, name, configs) for name in ("width", "height"))
    steps = default_of(pipeline_class, "num_inference_steps", USUAL_STEPS)
    guided = "guidance_scale" in arguments_of(pipeline_class)
    guidance = float(default_of(pipeline_class, "guidance_scale", 1.0)) if guided else 1.0
    frames = _frames(pipeline_class, configs)
    return {
        "defaults": {
            "width": width,
            "height": height,
            "num_inference_steps": steps,
            "guidance_scale": guidance,
            "scheduler": CHECKPOINT,
            **({"num_frames": frames} if frames else {}),
        },
        "limits": {
            "min_px": min(lcm(multiple, SMALLEST_PX), width, height),
            "max_px": 2 * max(width, height),
            "max_pixels": 2 * width * height,
            "multiple_px": multiple,
            "max_steps": min(MOST_STEPS, max(100, 2 * steps)),
            "guidance_scale": [0.0, max(MOST_GUIDANCE, 2 * guidance)] if guided else [1.0, 1.0],
            **({"max_frames": configs.fixed_frames or 2 * frames} if frames else {}),
        },
    }


def _side(pipeline_class: PipelineClass, name: str, configs: Configurations) -> int:
    usual = (usual_latents(pipeline_class) or 0) * configs.vae_factor
    px = int(default_of(pipeline_class, name, configs.trained_px(name) or usual or USUAL_PX))
    return max(configs.multiple_px, px // configs.multiple_px * configs.multiple_px)


def _frames(pipeline_class: PipelineClass, configs: Configurations) -> int | None:
    named = (name for name in FRAMES if name in arguments_of(pipeline_class))
    if (name := next(named, None)) is None:
        return None
    usual = configs.fixed_frames or default_of(pipeline_class, name, configs.trained_frames or USUAL_FRAMES)
    return int(usual - 1) // configs.frames_multiple * configs.frames_multiple + 1
