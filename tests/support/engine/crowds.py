"""Crowds: requests of one model that differ in everything that may differ inside a batch."""

from __future__ import annotations

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES, Family
from tests.support.engine.animation_videos import animated
from tests.support.engine.drawing import photo, request
from tests.tiny import Tiny
from tests.tiny.controlnets import DEPTH_MODE

VARIATIONS = (
    # steps, guidance, prompt
    (2, 5.0, "a red apple"),
    (4, 7.5, "a blue boat on the sea, far from every harbour"),
    (3, 1.0, "unguided"),
)


def crowd(family: str, tiny: Tiny) -> list[GenerationRequest]:
    """Return requests of every task of a family, with their own steps, guidances, prompts and seeds."""
    wanted = [
        request(
            task,
            scheduler=tiny.scheduler,
            num_inference_steps=steps,
            guidance_scale=guidance,
            prompt=prompt,
            seed=seed,
            layered=FAMILIES[family].layered,
            **_inputs(task, family, tiny, seed),
        )
        for task in FAMILIES[family].pipelines
        for seed, (steps, guidance, prompt) in enumerate(VARIATIONS)
    ]
    wanted += [
        wanted[first + number % len(VARIATIONS)].model_copy(update=condition)
        for first in range(0, len(wanted), len(VARIATIONS))
        for number, condition in enumerate(_conditions(FAMILIES[family], tiny, wanted[first].task))
    ]
    if tiny.last_image:
        clips = [each for each in wanted if each.task is Task.IMAGE_TO_VIDEO]
        # Of two lengths.
        wanted += [each.model_copy(update={"last_image": photo(seed=8), "seed": 5}) for each in clips]
    if FAMILIES[family].negative_prompt:
        wanted.append(wanted[0].model_copy(update={"negative_prompt": "blurry", "seed": 9}))
    return wanted


def _conditions(family: Family, tiny: Tiny, task: Task) -> list[dict[str, object]]:
    """What a task is drawn under, beside nothing."""
    mode: dict[str, object] = {"control_mode": DEPTH_MODE} if family.control_modes else {}
    controls: list[dict[str, object]] = [
        {"control_image": photo(seed=4), "control_type": "canny", "control_scale": 1.0},
        {"control_image": photo(seed=5), "control_type": "canny", "control_scale": 0.3},
        {"control_image": photo(seed=5), "control_type": "depth", "control_scale": 0.7, **mode},
    ]
    references: list[dict[str, object]] = [
        {"reference_image": photo(seed=6, size_px=96), "reference_scale": 0.5},
        {"reference_image": photo(seed=7, size_px=80), "reference_scale": 1.0},
    ]
    both = [{**control, **reference} for control, reference in zip(controls, references, strict=False)]
    return [
        *(controls if task in family.controlled else []),
        *(references if family.ip_adapter or tiny.redux else []),
        *(both if _takes_both(family, tiny, task) else []),
    ]


def _takes_both(family: Family, tiny: Tiny, task: Task) -> bool:
    return task in family.controlled and (tiny.redux or (family.ip_adapter and task not in family.control_alone))


def _inputs(task: Task, family: str, tiny: Tiny, seed: int) -> dict[str, object]:
    if task.is_video:
        # Only clips of one length share passes; half of them do.
        frames = tiny.num_frames + FAMILIES[family].frames_multiple * (seed % 2)
        followed = {} if FAMILIES[family].animation is None else animated(frames, tiny.num_frames, seed)
        return {"num_frames": frames, "fps": 8, **followed}
    if task is Task.EDIT:
        count = 1 + seed % FAMILIES[family].max_images
        return {"images": tuple(photo(seed=number) for number in range(count))}
    return {}
