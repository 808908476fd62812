"""Samplers alone: each takes as many steps as the catalogue allows, and begins at its first."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from functools import partial
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler
from torch.utils import _pytree as pytree

from models.catalogue.families.samplers import DIFFUSION, FLOW, FLOW_MULTISTEP
from models.catalogue.families.schedulers import (
    CLASS_SCHEDULES,
    SCHEDULES,
    SGM_UNIFORM,
    SIGMAS,
    Samplers,
    SchedulerSpec,
)
from runners.engine.views.samplers import SamplerMaker, let_draw, make_scheduler

MOST_STEPS = 900
ENDS = 15
"""Calls that are taken at each end of more than four times as many. Odd: second-order samplers have 2 n - 1 calls, in
pairs.
"""
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
CHECKPOINTS: list[tuple[str, Samplers, Mapping[str, Any]]] = [
    ("stable-diffusion", DIFFUSION, STABLE_DIFFUSION),
    ("karras", DIFFUSION, {**STABLE_DIFFUSION, "use_karras_sigmas": True}),
    ("v-prediction", DIFFUSION, {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}),
    ("flow", FLOW, {"shift": 3.0}),
    ("dynamic-flow", FLOW, {"use_dynamic_shifting": True}),
    ("wan", FLOW_MULTISTEP, {"flow_shift": 3.0}),
    ("wan-lightning", FLOW_MULTISTEP, {"flow_shift": 12.0}),
]
SAMPLERS = [
    pytest.param(table[name], config, id=f"{checkpoint}-{name}")
    for checkpoint, table, config in CHECKPOINTS
    for name in table.schedules
]
SPREAD = [
    pytest.param(table[name], config, id=f"{checkpoint}-{name}")
    for checkpoint, table, config in (CHECKPOINTS[0], *CHECKPOINTS[3:5])
    for name in table.keys() - table.schedules.keys()
]
MADE = [
    pytest.param(table[name], config, id=f"{checkpoint}-{name}")
    for checkpoint, table, config in (CHECKPOINTS[0], CHECKPOINTS[3], CHECKPOINTS[5])
    for name in table.schedules
]
DISTILLED = {"LCMScheduler", "TCDScheduler"}


def of_diffusers(spec: SchedulerSpec) -> type[Any]:
    found: type[Any] = getattr(diffusers, spec.class_name)
    return found


@pytest.mark.parametrize(("spec", "config"), SAMPLERS)
def test_every_allowed_number_of_steps_can_be_taken(spec: SchedulerSpec, config: Mapping[str, Any]) -> None:
    # Some take a fifth of a second to make.
    made = make_scheduler(spec, config)
    for steps in (1, 2, 50, MOST_STEPS):
        assert_steps(begun_of(deepcopy(made), config, min(steps, spec.max_steps or steps)))


@pytest.mark.parametrize(("spec", "config"), MADE)
def test_a_sampler_is_made_as_if_no_other_had_stepped(spec: SchedulerSpec, config: Mapping[str, Any]) -> None:
    samplers = SamplerMaker()
    for _ in range(2):
        made = samplers.make(spec, config)
        expected = make_scheduler(spec, config)
        assert_alike(made, expected)
        generators = [torch.Generator().manual_seed(1) for _ in range(2)]
        for each, generator in zip((made, expected), generators, strict=True):
            let_draw(each, spec, generator)
            each.set_timesteps(4)
            if "generator" in inspect.signature(each.step).parameters:
                each.step = partial(each.step, generator=generator)
            assert_finite(each, 0, len(each.timesteps))
        assert_alike(made, expected)


def test_samplers_are_made_for_each_shift() -> None:
    samplers, config = SamplerMaker(), {"flow_shift": 3.0}
    made = [samplers.make(FLOW_MULTISTEP["unipc"].shifted(shift), config) for shift in (2.0, 7.0, 2.0)]
    for each in made:
        each.set_timesteps(4)
    assert torch.equal(made[0].sigmas, made[2].sigmas)
    assert not torch.equal(made[0].sigmas, made[1].sigmas)


def assert_alike(made: Any, expected: Any) -> None:
    assert vars(made).keys() == vars(expected).keys()
    torch.testing.assert_close(_numbers(made), _numbers(expected), rtol=0, atol=0, equal_nan=True)


def _numbers(sampler: Any) -> list[Any]:
    """Return all that it holds that is a number or has numbers, in the order of names."""
    held = pytree.tree_leaves([value for _, value in sorted(vars(sampler).items())])
    return [leaf for leaf in held if isinstance(leaf, int | float | np.ndarray | torch.Tensor)]


@pytest.mark.parametrize(("spec", "config"), SPREAD)
def test_every_schedule_of_every_sampler_can_be_taken(spec: SchedulerSpec, config: Mapping[str, Any]) -> None:
    made = make_scheduler(spec, config)
    for steps in (1, 2, 50, 100):
        assert_steps(begun_of(deepcopy(made), config, min(steps, spec.max_steps or steps)))


def assert_steps(sampler: Any) -> None:
    """Take all steps; of many, the first and, begun as image-to-image is, the last, if no sigma between rises."""
    calls = len(sampler.timesteps)
    if calls <= 4 * ENDS or not hasattr(sampler, "set_begin_index"):
        assert_finite(sampler, 0, calls)
        return
    assert (sampler.sigmas[ENDS - 1 : calls - ENDS + 1].diff() <= 0).all()
    # Spreading so many steps takes some samplers a second.
    last = deepcopy(sampler)
    assert_finite(sampler, 0, ENDS)
    last.set_begin_index(calls - ENDS)
    assert_finite(last, calls - ENDS, calls)


def assert_finite(sampler: Any, begin: int, end: int) -> None:
    """Take the steps from one call to another."""
    sample = torch.ones(1, 1, 2, 2)
    with torch.no_grad():
        for time in sampler.timesteps[begin:end]:
            sample = sampler.step(sample * 0.1, time, sample, return_dict=False)[0]
    assert torch.isfinite(sample).all(), (begin, end)


def test_equal_training_times_at_the_start_leave_no_step_out() -> None:
    sampler = begun(FLOW_MULTISTEP["unipc"], {"flow_shift": 12.0}, 100)
    first, second = sampler.timesteps[:2]
    assert first == second
    sampler.step(torch.ones(1, 1, 2, 2), first, torch.ones(1, 1, 2, 2))
    assert sampler.step_index == 1


@pytest.mark.parametrize(
    "name", sorted(name for name in DIFFUSION.schedules if hasattr(of_diffusers(DIFFUSION[name]), "index_for_timestep"))
)
def test_a_sampler_that_begins_in_the_middle_finds_its_place(name: str) -> None:
    sampler = begun(DIFFUSION[name], STABLE_DIFFUSION, 20)
    # Samplers of second order have the times of the second calls twice, which begin at the second.
    places = [sampler.index_for_timestep(time) for time in sampler.timesteps[:: sampler.order]]
    assert places == list(range(0, 20 * sampler.order, sampler.order))


def begun(spec: SchedulerSpec, config: Mapping[str, Any], steps: int) -> Any:
    return begun_of(make_scheduler(spec, config), config, steps)


def begun_of(sampler: Any, config: Mapping[str, Any], steps: int) -> Any:
    # What the pipelines of FLUX pass, which shift by the size of the image.
    shift = {"mu": 1.0} if config.get("use_dynamic_shifting") else {}
    sampler.set_timesteps(steps, **shift)
    return sampler


@pytest.mark.parametrize("class_name", sorted(CLASS_SCHEDULES.keys() - DISTILLED))
def test_a_class_takes_the_schedules_that_its_signature_says(class_name: str) -> None:
    taken = inspect.signature(getattr(diffusers, class_name)).parameters
    spacing = (SGM_UNIFORM,) if "timestep_spacing" in taken else ()
    assert CLASS_SCHEDULES[class_name] == (*(name for name in SIGMAS if f"use_{name}_sigmas" in taken), *spacing)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("own", [{}, {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}])
def test_a_named_schedule_replaces_the_checkpoints(schedule: str, own: Mapping[str, Any]) -> None:
    named = begun(DIFFUSION[f"dpmpp_2m_{schedule}"], {**STABLE_DIFFUSION, **own}, 20)
    plain = {} if schedule == SGM_UNIFORM else {f"use_{schedule}_sigmas": True}
    spacing = {"timestep_spacing": "trailing"} if schedule == SGM_UNIFORM else {}
    expected = diffusers.DPMSolverMultistepScheduler(**STABLE_DIFFUSION, **plain, **spacing)
    expected.set_timesteps(20)
    assert torch.equal(named.sigmas, expected.sigmas)


@pytest.mark.parametrize(
    ("name", "setting"), [("unipc", "flow_shift"), ("dpmpp_2m", "flow_shift"), ("flow_euler", "shift")]
)
def test_samplers_shift_as_the_checkpoint_says(name: str, setting: str) -> None:
    checkpoint = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    sampler = make_scheduler(FLOW_MULTISTEP[name], checkpoint.config)
    assert sampler.config[setting] == 5.0
    sampler.set_timesteps(4)
    # Unshifted, the second of four steps starts at 0.75 or below.
    assert float(sampler.sigmas[1]) > 0.85
