"""Checks one task's defaults and limits against each other and the family."""

from __future__ import annotations

from collections.abc import Iterator

from core.generation.request import Task
from models.catalogue.families import Family
from models.catalogue.limits import Defaults, Limits, TaskSettings

VIDEO_DEFAULTS, VIDEO_LIMITS = frozenset({"num_frames", "fps"}), frozenset({"max_frames"})


def task_mistakes(task: Task, settings: TaskSettings, family: Family) -> Iterator[str]:
    """Yield what is wrong with the defaults and limits of one task, each as `field: what`."""
    defaults, limits = settings.defaults, settings.limits
    yield from _against_family(settings, family)
    yield from _size_mistakes(defaults, limits)
    if defaults.num_inference_steps < limits.min_steps:
        yield f"defaults.num_inference_steps: {defaults.num_inference_steps} is less than min_steps, {limits.min_steps}"
    if defaults.num_inference_steps > limits.max_steps:
        yield f"defaults.num_inference_steps: {defaults.num_inference_steps} is more than max_steps, {limits.max_steps}"
    lowest, highest = limits.guidance_scale
    if not lowest <= defaults.guidance_scale <= highest:
        yield f"defaults.guidance_scale: {defaults.guidance_scale} is not between {lowest} and {highest}"
    if task.takes_strength and int(defaults.num_inference_steps * defaults.strength) < 1:
        steps = defaults.num_inference_steps
        yield f"defaults.strength: {defaults.strength} of {steps} steps leaves {task} no step"
    if task.is_video:
        yield from _frame_mistakes(defaults, limits, family)


def _against_family(settings: TaskSettings, family: Family) -> Iterator[str]:
    defaults, limits = settings.defaults, settings.limits
    if limits.multiple_px % family.size_multiple_px:
        needed = f"{family.size_multiple_px}, as {family.name} needs"
        yield f"limits.multiple_px: {limits.multiple_px} is not a multiple of {needed}"
    if defaults.scheduler not in family.schedulers:
        name = family.schedulers.find(defaults.scheduler)
        wrong = f"{defaults.scheduler!r} is {name}" if name else family.schedulers.mistake(defaults.scheduler)
        yield f"defaults.scheduler: {wrong}"
    else:
        yield from _sampler_mistakes(defaults, family)
    yield from _text_mistakes(defaults.max_sequence_length, family)
    if limits.max_images > family.max_images:
        yield f"limits.max_images: {limits.max_images} is more than {family.max_images}, all that {family.name} takes"
    if not any(task.is_video for task in family.pipelines):
        given = [f"defaults.{field}" for field in sorted(defaults.model_fields_set & VIDEO_DEFAULTS)]
        given += [f"limits.{field}" for field in limits.model_fields_set & VIDEO_LIMITS]
        yield from (f"{place}: {family.name} generates no videos" for place in given)


def _sampler_mistakes(defaults: Defaults, family: Family) -> Iterator[str]:
    steps, most = defaults.num_inference_steps, family.schedulers[defaults.scheduler].max_steps
    if most is not None and steps > most:
        yield f"defaults.num_inference_steps: {steps} is more than {most}, all that {defaults.scheduler} can take"


def _text_mistakes(length: int | None, family: Family) -> Iterator[str]:
    if length is None:
        return
    if family.text_tokens is None:
        yield f"defaults.max_sequence_length: {family.name} has no input for it"
    elif length > family.text_tokens.most:
        most = f"{family.text_tokens.most}, all that {family.name} reads"
        yield f"defaults.max_sequence_length: {length} is more than {most}"


def _size_mistakes(defaults: Defaults, limits: Limits) -> Iterator[str]:
    width, height = defaults.width, defaults.height
    for field, side in (("width", width), ("height", height)):
        if not limits.min_px <= side <= limits.max_px:
            yield f"defaults.{field}: {side} is not between {limits.min_px} and {limits.max_px}"
        elif side % limits.multiple_px:
            yield f"defaults.{field}: {side} is not a multiple of {limits.multiple_px}"
    if max(width, height) <= limits.max_px and width * height > limits.max_pixels:
        yield f"defaults.width: {width}x{height} is {width * height} pixels; at most {limits.max_pixels} are allowed"


def _frame_mistakes(defaults: Defaults, limits: Limits, family: Family) -> Iterator[str]:
    if defaults.num_frames > limits.max_frames:
        yield f"defaults.num_frames: {defaults.num_frames} is more than max_frames, {limits.max_frames}"
    if (defaults.num_frames - 1) % family.frames_multiple:
        yield f"defaults.num_frames: {defaults.num_frames} is not one more than a multiple of {family.frames_multiple}"
    if defaults.num_frames < (least := family.least_frames(defaults.fps)):
        yield f"defaults.num_frames: {defaults.num_frames} is less than {least}, the least of {family.name} at this fps"
