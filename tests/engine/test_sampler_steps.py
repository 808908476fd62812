"""Steps of several samplers taken as one lead to the same samples as each by itself, to the last bit."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any
from unittest.mock import patch
from weakref import ref

import diffusers
import pytest
import torch

import runners.engine.engine
from core.generation.events import Event
from models.catalogue.families.samplers import DIFFUSION, FLOW_MULTISTEP
from models.catalogue.families.schedulers import SchedulerSpec
from runners.engine.sampler_steps import HISTORIES, SamplerStep, let_share, step_together
from runners.engine.views.samplers import SamplerMaker
from tests.support.engine.drawing import draw_together, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import load_tiny

STEPS = 6
BATCHES = (1, 2, 1)
SHARING = sorted(
    f"{table}-{name}"
    for table, samplers in (("diffusion", DIFFUSION), ("flow", FLOW_MULTISTEP))
    for name, spec in samplers.items()
    if spec.class_name in HISTORIES and not spec.overrides["algorithm_type"].startswith("sde")
)


def spec_of(name: str) -> SchedulerSpec:
    table, _, sampler = name.partition("-")
    return {"diffusion": DIFFUSION, "flow": FLOW_MULTISTEP}[table][sampler]


class Images:
    """Begins samplers as the images of one model have them."""

    def __init__(self) -> None:
        self._samplers = SamplerMaker()
        self._config = diffusers.DPMSolverMultistepScheduler(prediction_type="v_prediction").config

    def sampler(self, spec: SchedulerSpec, steps: int | None = STEPS, timesteps: Sequence[int] | None = None) -> Any:
        made = self._samplers.make(spec, self._config)
        made.set_timesteps(steps, **({} if timesteps is None else {"timesteps": list(timesteps)}))
        return made


def outputs(seed: int, layout: torch.memory_format) -> list[torch.Tensor]:
    drawn = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, 4, 5, 7, generator=drawn).to(memory_format=layout) for rows in BATCHES]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", SHARING)
def test_steps_taken_together_are_those_taken_alone(name: str, layout: torch.memory_format) -> None:
    images = Images()
    together, alone = ([images.sampler(spec_of(name)) for _ in BATCHES] for _ in range(2))
    samples = expected = outputs(0, torch.contiguous_format)
    for number, time in enumerate(together[0].timesteps):
        denoised = outputs(1 + number, layout)
        steps = list(map(SamplerStep, together, denoised, [time] * len(BATCHES), samples))
        assert len({step.key for step in steps}) == 1
        samples = step_together(steps)
        expected = [
            each.step(output, time, sample, return_dict=False)[0]
            for each, output, sample in zip(alone, denoised, expected, strict=True)
        ]
        assert all(map(torch.equal, samples, expected))
    for one, other in zip(together, alone, strict=True):
        assert (one.step_index, one.lower_order_nums) == (other.step_index, other.lower_order_nums)
        assert all(map(torch.equal, one.model_outputs, other.model_outputs))


def test_only_steps_that_are_alike_are_taken_together() -> None:
    images, spec = Images(), DIFFUSION["dpmpp_2m"]
    first, same, ahead = (images.sampler(spec) for _ in range(3))
    longer, other = images.sampler(spec, steps=9), images.sampler(DIFFUSION["dpmpp_2m_karras"])
    time = first.timesteps[0]
    uneven = images.sampler(spec, steps=None, timesteps=(int(time), 800, 500, 300, 200, 50))
    sample, wider = torch.ones(1, 4, 5, 7), torch.ones(1, 4, 5, 8)
    ahead.step(sample, time, sample)
    steps = [SamplerStep(each, sample, time, sample) for each in (first, ahead, longer, other, uneven)]
    shaped = [SamplerStep(first, each, time, each) for each in (wider, sample.half())]
    assert len({step.key for step in [*steps, *shaped]}) == 7
    assert SamplerStep(same, sample, time, sample).key == steps[0].key
    assert len(uneven.timesteps) == len(first.timesteps)


def refuse(step: SamplerStep) -> None:
    pytest.fail(f"{step.sampler} wants to share")


@pytest.mark.parametrize("name", ["dpmpp_2m_sde", "euler_a", "ddim"])
def test_samplers_that_draw_or_are_not_known_step_by_themselves(name: str) -> None:
    sampler = Images().sampler(DIFFUSION[name])
    let_share(sampler, refuse)
    (sample, *_) = outputs(0, torch.contiguous_format)
    sampler.scale_model_input(sample, sampler.timesteps[0])
    sampler.step(sample, sampler.timesteps[0], sample, return_dict=False)


def test_a_copy_of_a_sampler_steps_by_itself_and_shows_the_same_parameters() -> None:
    sampler = Images().sampler(DIFFUSION["dpmpp_2m"])
    parameters = inspect.signature(sampler.step)
    let_share(sampler, refuse)
    assert inspect.signature(sampler.step) == parameters
    copied = deepcopy(sampler)
    (sample, *_) = outputs(0, torch.contiguous_format)
    copied.step(sample, copied.timesteps[0], sample, return_dict=False)
    assert (copied.step_index, sampler.step_index) == (1, None)
    assert deepcopy(vars(sampler))["step"] is sampler.step


def test_a_sampler_goes_with_its_image() -> None:
    sampler = Images().sampler(DIFFUSION["dpmpp_2m"])
    let_share(sampler, refuse)
    left = ref(sampler)
    del sampler
    assert left() is None, "no cycle has to be found first"


def test_images_that_share_passes_share_steps(tmp_path: Path) -> None:
    together: list[int] = []

    def counted(steps: Sequence[SamplerStep]) -> list[torch.Tensor]:
        together.append(len(steps))
        return step_together(steps)

    wanted = request(num_images=3, scheduler="dpmpp_2m")
    model = load_tiny("stable-diffusion", tmp_path)
    with running(model, batch_tokens=2**20) as (engine, _):
        with patch.object(runners.engine.engine, "step_together", counted):
            (shared,) = asyncio.run(draw_together(engine, [wanted]))
        with patch.object(runners.engine.engine, "step_together", side_effect=RuntimeError("refused")) as refusing:
            (alone,) = asyncio.run(draw_together(engine, [wanted]))
    assert together == [3] * wanted.num_inference_steps
    refusing.assert_called_once()
    assert bytes_of(shared) == bytes_of(alone)


def bytes_of(events: Sequence[Event]) -> list[bytes]:
    return [picture.image.tobytes() for picture in pictures(events)]
