"""ControlNets of transformers: their calls share passes whatever the prompt and the scale, and some have modes.

That each image equals the plain pipeline's, amid a crowd of all conditions, `test_families.py` shows.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import LoadFailed
from core.generation.request import Task
from models.weights.loading import LoadedModel
from runners.engine.views.optional_weights import OptionalWeights
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_conditioned
from tests.tiny.controlnets import DEPTH_MODE, MODES

CONTROL: dict[str, Any] = {"control_image": photo(seed=4), "control_type": "canny", "scheduler": "flow_euler"}
STEPS = 4


@pytest.mark.parametrize("family", ["flux", "qwen-image", "stable-diffusion-3", "z-image"])
async def test_prompts_and_scales_share_passes(family: str, tmp_path: Path) -> None:
    prompts = ("an apple", "a blue boat on the sea, far from every harbour, in which three old sailors are asleep")
    wanted = [
        request(**CONTROL, prompt=prompt, control_scale=scale, seed=seed)
        for seed, (prompt, scale) in enumerate(zip(prompts, (0.4, 1.0), strict=True))
    ]
    model = load_conditioned(family, tmp_path)
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert recorder.batch_sizes("controlnet") == [2] * STEPS
    assert set(recorder.batch_sizes("transformer")) == {2}
    for each, events in zip(wanted, drawn, strict=True):
        picture = pictures(events)[0].image
        assert largest_difference(picture, draw_plain(model, each)) <= TOLERANCE
        uncontrolled = each.model_copy(update={"control_image": None, "control_type": None})
        assert largest_difference(picture, draw_plain(model, uncontrolled)) > TOLERANCE


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load_conditioned("flux", tmp_path_factory.mktemp("flux"))


async def test_all_tasks_of_flux_share_passes(flux: LoadedModel) -> None:
    wanted = [request(task, strength=1.0, **CONTROL) for task in flux.pipelines]
    assert Task.INPAINT in flux.pipelines
    with running(flux, batch_tokens=BATCH_TOKENS) as (engine, recorder):
        await draw_together(engine, wanted)
    assert recorder.batch_sizes("controlnet") == [len(wanted)] * STEPS
    assert recorder.batch_sizes("transformer") == [len(wanted)] * STEPS


def with_modes(flux: LoadedModel, **modes: int | None) -> LoadedModel:
    """Return a model whose ControlNet for depth is that of these types too."""
    depth = flux.controlnets["depth"]
    nets = {kind: depth.model_copy(update={"mode": mode}) for kind, mode in modes.items()}
    return replace(flux, controlnets={**flux.controlnets, **nets})


async def test_types_of_one_controlnet_share_passes_and_weights(flux: LoadedModel) -> None:
    model = with_modes(flux, pose=DEPTH_MODE + 1)
    optional = OptionalWeights(model)
    assert optional.controlnet("depth") is optional.controlnet("pose")
    modes = {"depth": DEPTH_MODE, "pose": DEPTH_MODE + 1}
    # The mode is one more token beside those of the prompt.
    strong = {**CONTROL, "control_scale": 2.0, "max_sequence_length": 16}
    wanted = [request(**strong | {"control_type": kind, "control_mode": mode}) for kind, mode in modes.items()]
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, recorder):
        depth, pose = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    assert recorder.batch_sizes("controlnet") == [2] * STEPS
    assert depth.tobytes() != pose.tobytes()


@pytest.mark.parametrize(
    ("kind", "mode", "says"),
    [
        ("depth", None, f"controlnets.depth.mode is missing; .*depth has the modes 0 to {MODES - 1}"),
        ("depth", MODES, f"controlnets.depth.mode is {MODES}; "),
        ("canny", 0, "canny has no modes; leave controlnets.canny.mode out"),
    ],
)
async def test_a_mode_that_a_controlnet_has_not_is_named(
    flux: LoadedModel, kind: str, mode: int | None, says: str
) -> None:
    spec = flux.controlnets[kind].model_copy(update={"mode": mode})
    model = replace(flux, controlnets={kind: spec})
    with pytest.raises(LoadFailed, match=says):
        OptionalWeights(model).controlnet(kind)
