"""Samplers alone: each takes as many steps as the catalogue allows, and begins at its first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from diffusers import UniPCMultistepScheduler

from models.catalogue.families.schedulers import DIFFUSION, FLOW, FLOW_MULTISTEP, SchedulerSpec
from runners.engine.views.samplers import make_scheduler

MOST_STEPS = 900
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
CHECKPOINTS: list[tuple[str, Mapping[str, SchedulerSpec], Mapping[str, Any]]] = [
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
    for name in table
]


@pytest.mark.parametrize(("spec", "config"), SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 50, 100, 500, MOST_STEPS])
def test_every_allowed_number_of_steps_can_be_taken(spec: SchedulerSpec, config: Mapping[str, Any], steps: int) -> None:
    sampler = begun(spec, config, min(steps, spec.max_steps or steps))
    sample = torch.ones(1, 1, 2, 2)
    with torch.no_grad():
        for time in sampler.timesteps:
            sample = sampler.step(sample * 0.1, time, sample, return_dict=False)[0]
    assert torch.isfinite(sample).all()


def test_equal_training_times_at_the_start_leave_no_step_out() -> None:
    sampler = begun(FLOW_MULTISTEP["unipc"], {"flow_shift": 12.0}, 100)
    first, second = sampler.timesteps[:2]
    assert first == second
    sampler.step(torch.ones(1, 1, 2, 2), first, torch.ones(1, 1, 2, 2))
    assert sampler.step_index == 1


@pytest.mark.parametrize("name", sorted(DIFFUSION.keys() - {"ddim", "pndm"}))
def test_a_sampler_that_begins_in_the_middle_finds_its_place(name: str) -> None:
    sampler = begun(DIFFUSION[name], STABLE_DIFFUSION, 20)
    assert [sampler.index_for_timestep(time) for time in sampler.timesteps] == list(range(20))


def begun(spec: SchedulerSpec, config: Mapping[str, Any], steps: int) -> Any:
    sampler = make_scheduler(spec, config)
    # What the pipelines of FLUX pass, which shift by the size of the image.
    shift = {"mu": 1.0} if config.get("use_dynamic_shifting") else {}
    sampler.set_timesteps(steps, **shift)
    return sampler


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
