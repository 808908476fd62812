"""Checks tuning parameters: whether the model, pipeline and sampler have them, and their limits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.request import Task
from core.generation.tuning import TUNING
from models.catalogue.entry import Entry
from models.catalogue.families.schedulers import SchedulerSpec
from models.catalogue.families.tunable import ARGUMENTS, taken_by
from models.catalogue.limits import TaskSettings
from models.catalogue.resolving.checks import within

FEWEST_TOKENS = 16
"""The fewest tokens of a prompt, since chat templates alone take some."""
LEAST_SIGMA, MOST_SIGMA = 1e-6, 1000.0
"""Samplers divide by sigmas: beyond float32's range, the image would be NaN."""
LAST_TIME = 999
"""The last of 1000 training timesteps, counted from 0; in flow matching they end at 1000."""
_STEPS = ("sigmas", "timesteps")


def with_own_steps(draft: Draft) -> Draft:
    """Return a draft with explicit steps, and their number as `num_inference_steps`. Raises InvalidRequest."""
    given = [name for name in _STEPS if getattr(draft, name)]
    if not given:
        return draft
    if len(given) > 1:
        raise InvalidRequest("timesteps", "cannot be given together with sigmas")
    field, steps = given[0], getattr(draft, given[0])
    # Some clients also send the noise level after the last step, which is 0.
    steps = steps[:-1] if field == "sigmas" and steps[-1] == 0 and len(steps) > 1 else steps
    if draft.num_inference_steps not in (None, len(steps)):
        raise InvalidRequest(field, f"are {len(steps)}, but num_inference_steps is {draft.num_inference_steps}")
    return draft.model_copy(update={field: steps, "num_inference_steps": len(steps)})


def tuning_of(draft: Draft, entry: Entry, settings: TaskSettings, sampler: str) -> Mapping[str, Any]:
    """Return the request's tuning fields. Raises InvalidRequest for an unsupported one that would change what is
    generated, or how.
    """
    if draft.prompt_2.strip() and "prompt_2" not in _taken(draft, entry):
        raise InvalidRequest("prompt_2", f"{entry.id} has no second text encoder")
    if draft.guidance_scale_2 is not None:
        within("guidance_scale_2", draft.guidance_scale_2, *settings.limits.guidance_scale)
    for field in _STEPS:
        if getattr(draft, field):
            _check_steps(field, getattr(draft, field), draft, entry, sampler)
    prompts = {name: getattr(draft, name).strip() for name in ("prompt_2", "negative_prompt_2")}
    length = {"max_sequence_length": _text_length(draft, entry, settings)}
    return {**{name: getattr(draft, name) for name in TUNING}, **prompts, **length}


def _text_length(draft: Draft, entry: Entry, settings: TaskSettings) -> int | None:
    own, length, known = settings.defaults.max_sequence_length, draft.max_sequence_length, entry.family_spec.text_tokens
    if length in (None, own) or known is None:
        return length or own
    return within("max_sequence_length", length, FEWEST_TOKENS, known.most)


def tunable(entry: Entry, task: Task) -> frozenset[str]:
    """Return the fields that have an effect on a task with at least one of its samplers."""
    samplers = entry.family_spec.schedulers.values()
    idle = {"guidance_scale_2"} if not entry.low_noise_expert else set()
    idle |= {"eta"} if not any(sampler.takes_eta for sampler in samplers) else set()
    shift = {"flow_shift"} if any(sampler.shift for sampler in samplers) else set()
    end = {"guidance_end"} if entry.family_spec.unguided and entry.takes_guidance else set()
    return (taken_by(entry.family_spec, entry.family_spec.pipelines[task]) - idle) | shift | end


def idle_tuning(draft: Draft, entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield the tuning fields that have no effect, with the reason."""
    sampler = _sampler(draft, entry)
    taken = _taken(draft, entry)
    yield from (
        (field, f"{entry.id} has no input for it") for field in sorted(ARGUMENTS - taken - {"prompt_2", *_STEPS})
    )
    if not entry.low_noise_expert:
        yield "guidance_scale_2", f"{entry.id} has one model for all noise"
    if sampler is not None and not sampler.takes_eta:
        yield "eta", f"{draft.scheduler or entry.tasks[draft.task].defaults.scheduler} adds none"
    if sampler is not None and sampler.shift is None:
        yield "flow_shift", f"{entry.id} follows no flow"


def _taken(draft: Draft, entry: Entry) -> frozenset[str]:
    family = entry.family_spec
    pipelines = family.pipelines if draft.control_image is None else family.controlled
    # A control image for a task without ControlNets is refused elsewhere.
    return taken_by(family, pipelines.get(draft.task, family.pipelines[draft.task]))


def _sampler(draft: Draft, entry: Entry) -> SchedulerSpec | None:
    schedulers = entry.family_spec.schedulers
    name = schedulers.find(draft.scheduler or entry.tasks[draft.task].defaults.scheduler)
    return None if name is None else schedulers[name]


def _check_steps(field: str, steps: tuple[float, ...], draft: Draft, entry: Entry, sampler: str) -> None:
    schedulers = entry.family_spec.schedulers
    if field not in _taken(draft, entry):
        raise InvalidRequest(field, f"{entry.id} takes none for {draft.task}")
    able = [name for name in schedulers.schedules if field in schedulers[name].explicit]
    if sampler not in able:
        raise InvalidRequest(field, f"{sampler} takes none; these samplers do: {', '.join(able) or 'none'}")
    flows = schedulers[sampler].shift is not None
    allowed = {"sigmas": (LEAST_SIGMA, 1 if flows else MOST_SIGMA), "timesteps": (0, LAST_TIME + flows)}[field]
    for step in steps:
        within(field, step, *allowed)
    if any(later >= earlier for earlier, later in pairwise(steps)):
        raise InvalidRequest(field, "must fall from step to step")
    if field == "timesteps" and not flows and any(step != int(step) for step in steps):
        raise InvalidRequest(field, "must be whole numbers")
