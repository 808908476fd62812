"""How long a request may take: the operator's timeout plus the time for the model's work.

Work is denoising alone. The operator's timeout is for everything else: queueing, loading, encoding, decoding, and
sharing passes with other requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil

from core.generation.request import GenerationRequest, Task
from models.catalogue.entry import Entry
from models.catalogue.limits import Defaults, TaskSettings
from settings import Settings


def work_s(entry: Entry, request: GenerationRequest, tflops: float) -> float:
    """Return the seconds that denoising takes at `tflops`; 0 if the model's operations have not been counted."""
    passes = [(request.width * request.height, request.num_inference_steps)] * request.segments
    if request.hires is not None:
        passes.append((request.hires.width * request.hires.height, request.hires.denoising_steps))
    spec = entry.family_spec
    # Some pipelines make two calls although they take no negative prompt.
    guided = (entry.takes_negative_prompt or spec.unguided is not None) and request.guidance_scale > spec.guided_above
    calls = request.num_images * (_most_samples(entry) if guided else 1)
    defaults, frames = entry.tasks[request.task].defaults, request.frames_a_pass
    return sum(_call_s(entry, defaults, pixels * frames, tflops) * steps * calls for pixels, steps in passes)


def allowed_s(entry: Entry, request: GenerationRequest, usual_s: float, tflops: float) -> float:
    """Return the longest deadline that a request may have, which is also its default."""
    return usual_s + work_s(entry, request, tflops)


def default_deadline_s(entry: Entry, settings: Settings) -> float:
    """Return how long to wait for a request with a model's defaults, for the longest of its tasks."""
    defaults = [task.defaults for task in entry.tasks.values()]
    sizes = [each.width * each.height * each.num_frames for each in defaults]
    tflops = settings.expected_tflops
    calls_s = [_call_s(entry, each, size, tflops) for each, size in zip(defaults, sizes, strict=True)]
    samples = _most_samples(entry)
    works_s = [samples * each.num_inference_steps * call_s for each, call_s in zip(defaults, calls_s, strict=True)]
    return settings.request_timeout_s + max(works_s)


def longest_deadline_s(entries: Iterable[Entry], settings: Settings) -> float:
    """Return the longest deadline that any request to these models may have."""
    most_s = (settings.max_num_images * _longest_s(entry, settings.expected_tflops) for entry in entries)
    return settings.request_timeout_s + max(most_s)


def _longest_s(entry: Entry, tflops: float) -> float:
    """Return the seconds of the longest task, or of text-to-image with a second pass if that is longer."""
    each = {task: _most_s(entry, entry.tasks[task], tflops) for task in entry.tasks}
    both = sum(each.get(task, 0.0) for task in (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE))
    return max([both, *each.values()])


def _most_s(entry: Entry, task: TaskSettings, tflops: float) -> float:
    most, animation = task.limits.max_frames, entry.family_spec.animation
    frames = most if animation is None else min(most, animation.segment_frames)
    steps = task.limits.max_steps * ceil(most / frames)
    return _most_samples(entry) * steps * _call_s(entry, task.defaults, task.limits.max_pixels * frames, tflops)


def _most_samples(entry: Entry) -> int:
    """Return how many samples all calls of a guided step compute for one image."""
    return 2 + entry.family_spec.perturbed_calls


def _call_s(entry: Entry, defaults: Defaults, size: int, tflops: float) -> float:
    if entry.figures is None:
        return 0.0
    share = size / (defaults.width * defaults.height * defaults.num_frames)
    # Attention grows with the square of the tokens, everything else with their number.
    return entry.figures.call_tflop * share * max(1.0, share) / tflops
