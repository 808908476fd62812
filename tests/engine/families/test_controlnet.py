"""ControlNets: pictures follow a control image, and their calls share passes whatever the task and the scale.

That each picture equals the plain pipeline's, amid a crowd of all conditions, `test_families.py` shows.
"""

from __future__ import annotations

import gc
import weakref
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest

from core.generation.events import Failed
from core.generation.request import Task
from models.catalogue.addons import ControlNetSpec
from models.catalogue.sources import Source
from models.weights.loading import LoadedModel
from runners.engine.views.optional_weights import OptionalWeights
from tests.support.engine.drawing import draw, draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE, load_conditioned

CONTROL: dict[str, Any] = {"control_image": photo(seed=4), "control_type": "canny"}


async def test_tasks_and_scales_share_passes(conditioned_model: LoadedModel) -> None:
    scales = (0.0, 0.4, 1.0, 1.7)
    wanted = [
        request(task, strength=1.0, **CONTROL, control_scale=scale)
        for task in Task
        if task in conditioned_model.pipelines
        for scale in scales
    ]
    with running(conditioned_model) as (engine, recorder):
        await draw_together(engine, wanted)
    steps = wanted[0].num_inference_steps
    assert recorder.batch_sizes("controlnet") == [len(wanted)] * steps
    assert recorder.batch_sizes("unet") == [len(wanted)] * steps


async def test_types_share_what_comes_after_the_controlnet(conditioned_model: LoadedModel) -> None:
    wanted = [request(**CONTROL), request(**CONTROL | {"control_type": "depth"})]
    with running(conditioned_model) as (engine, recorder):
        canny, depth = await draw_together(engine, wanted)
    assert max(recorder.batch_sizes("controlnet")) == 1
    assert max(recorder.batch_sizes("unet")) == 2
    assert max(recorder.batch_sizes("vae")) == 2
    assert largest_difference(pictures(canny)[0].image, pictures(depth)[0].image) > TOLERANCE


async def test_prompts_are_encoded_once_with_and_without_control(conditioned_model: LoadedModel) -> None:
    with running(conditioned_model) as (engine, recorder):
        await draw(engine, request())
        passes = len(recorder.batch_sizes("text_encoder"))
        await draw(engine, request(**CONTROL))
    assert len(recorder.batch_sizes("text_encoder")) == passes


async def test_the_control_image_and_its_scale_make_the_picture(conditioned_model: LoadedModel) -> None:
    changes = [{}, CONTROL, {**CONTROL, "control_scale": 0.5}, {**CONTROL, "control_image": photo(seed=5)}]
    with running(conditioned_model) as (engine, _):
        drawn = await draw_together(engine, [request(**change) for change in changes])
    assert len({pictures(events)[0].image.tobytes() for events in drawn}) == len(changes)


async def test_a_scale_of_nothing_is_no_control(conditioned_model: LoadedModel) -> None:
    with running(conditioned_model) as (engine, _):
        events = await draw(engine, request(**CONTROL, control_scale=0.0))
    assert largest_difference(pictures(events)[0].image, draw_plain(conditioned_model, request())) <= TOLERANCE


async def test_a_batch_with_as_many_samples_as_there_are_residuals(conditioned_model: LoadedModel) -> None:
    """A list of whole batches must not be taken for a list of samples."""
    residuals = len(OptionalWeights(conditioned_model).controlnet("canny").controlnet_down_blocks)
    wanted = [request(**CONTROL, seed=seed, guidance_scale=1.0) for seed in range(residuals)]
    with running(conditioned_model) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert [p.samples for p in recorder.passes if p.part.component == "controlnet"] == [residuals] * 4
    for each, events in zip(wanted, drawn, strict=True):
        assert largest_difference(pictures(events)[0].image, draw_plain(conditioned_model, each)) <= TOLERANCE


async def test_one_that_cannot_be_loaded_fails_its_own_requests_only(
    conditioned_model: LoadedModel, tmp_path: Path
) -> None:
    missing = ControlNetSpec(source=Source(path=tmp_path / "nowhere"))
    with running(replace(conditioned_model, controlnets={**conditioned_model.controlnets, "nowhere": missing})) as (
        engine,
        _,
    ):
        failed, drawn = await draw_together(
            engine, [request(**CONTROL | {"control_type": "nowhere"}), request(**CONTROL)]
        )
    assert isinstance(failed[-1], Failed)
    assert failed[-1].code == "load_failed"
    assert pictures(drawn)


def test_loaded_on_first_use_and_gone_with_its_model(conditioned_model: LoadedModel) -> None:
    optional = OptionalWeights(conditioned_model)
    optional.prepare(request())
    with ThreadPoolExecutor(4) as callers:
        nets = {id(net) for net in callers.map(optional.controlnet, ["canny"] * 4)}
    assert len(nets) == 1
    net = weakref.ref(optional.controlnet("canny"))
    del optional
    gc.collect()
    assert net() is None


def test_what_is_loaded_is_counted_without_what_it_shares_with_the_model(conditioned_model: LoadedModel) -> None:
    optional = OptionalWeights(conditioned_model)
    assert optional.gib == 0
    optional.prepare(request(**CONTROL))
    net = sum(weight.nbytes for weight in optional.controlnet("canny").parameters()) / 2**30
    assert optional.gib == pytest.approx(net)
    optional.prepare(request(**CONTROL, reference_image=photo(seed=6)))
    adapted, denoiser = optional.ip_adapter(), conditioned_model.components[conditioned_model.family.denoiser]
    encoder = sum(weight.nbytes for weight in adapted["image_encoder"].parameters()) / 2**30
    shared = sum(weight.nbytes for weight in denoiser.parameters()) / 2**30
    assert net + encoder < optional.gib < net + encoder + shared


async def test_what_is_prepared_is_not_read_again(tmp_path: Path) -> None:
    model = load_conditioned("stable-diffusion", tmp_path)
    with running(model) as (engine, _):
        engine.prepare(request(**CONTROL))
        rmtree(tmp_path)
        assert pictures(await draw(engine, request(**CONTROL)))
        assert not pictures(await draw(engine, request(**CONTROL | {"control_type": "depth"})))
