"""Components on other devices than the model's own: what they take and return moves with the calls."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL
from torch._subclasses.fake_tensor import FakeTensorMode

from core.errors import LoadFailed
from models.catalogue.families import CallStage, Part
from models.weights.loading import LoadedModel
from models.weights.memory import placing
from models.weights.memory.placing import devices_of
from runners.engine.passes import module_calls
from runners.engine.passes.module_calls import Operation
from runners.engine.passes.signatures import tensors_in
from runners.engine.views.stand_ins import StandIn, traits
from tests.support.engine.drawing import draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running

HOME, AWAY = torch.device("cuda", 0), torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("method", "stage", "argument"), [("encode", CallStage.ENCODE, "x"), ("decode", CallStage.DECODE, "z")]
)
def test_a_call_goes_to_the_device_of_its_module_and_comes_back(method: str, stage: CallStage, argument: str) -> None:
    """On tensors that know their device and refuse others, but hold nothing."""
    part = Part("vae", stage, method)
    with FakeTensorMode(), torch.no_grad():
        vae = AutoencoderKL(latent_channels=3, norm_num_groups=8, block_out_channels=(8,))
        for module in vae.modules():
            for name, weight in module._parameters.items():
                if weight is not None:
                    there = torch.empty(weight.shape, device=AWAY)
                    module._parameters[name] = torch.nn.Parameter(there, requires_grad=False)
        given = torch.empty(2, 3, 8, 8, device=HOME)
        output = Operation(part, vae, HOME).run(**{argument: given})
        with pytest.raises(RuntimeError, match="cuda:0"):
            Operation(part, vae).run(**{argument: given})
    (found,) = tensors_in(output)
    assert found.device == HOME


def test_pipelines_see_one_device() -> None:
    module = SimpleNamespace(dtype=torch.bfloat16, device=AWAY)
    assert StandIn(module, traits(module, HOME)).device == HOME


async def test_only_what_is_elsewhere_is_moved(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[Any] = []
    moved = module_calls._moved

    def watched(value: Any, device: torch.device) -> Any:
        moves.append(value)
        return moved(value, device)

    monkeypatch.setattr(module_calls, "_moved", watched)
    wanted = [request(seed=seed, num_inference_steps=3) for seed in range(2)]
    drawn = []
    for elsewhere in ({}, {"text_encoder": "cpu", "vae": "cpu"}):
        moves.clear()
        with running(replace(tiny_model, elsewhere=elsewhere)) as (engine, recorder):
            drawn.append(await draw_together(engine, wanted))
        passes = [each.part.component for each in recorder.passes if each.part.component in elsewhere]
        assert len(moves) == 2 * len(passes), "what it takes, and what it returns"
    for one, other in zip(*drawn, strict=True):
        assert largest_difference(pictures(one)[0].image, pictures(other)[0].image) == 0


def test_weights_are_counted_for_each_device(tiny_model: LoadedModel) -> None:
    split = replace(tiny_model, device=HOME, elsewhere={"vae": "cuda:1"})
    assert split.weights_on("cuda:0") + split.weights_on("cuda:1") == pytest.approx(tiny_model.weights_gib)
    vae = sum(weight.nbytes for weight in tiny_model.components["vae"].parameters()) / 2**30
    assert split.weights_on("cuda:1") == pytest.approx(vae)
    assert split.place_of("unet") == "cuda:0"


def test_a_device_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placing, "available_devices", lambda: ["cpu", "cuda:0", "cuda:1"])
    wanted = {"vae": "cuda:1", "text_encoder": "cpu"}
    assert devices_of(wanted, "cuda:0") == wanted
    assert devices_of(wanted, "cuda:1") == {"text_encoder": "cpu"}
    assert devices_of(wanted, "cpu") == {}
    with pytest.raises(LoadFailed, match=r"components\.vae: there is no cuda:2 .* has cpu, cuda:0, cuda:1"):
        devices_of({"vae": "cuda:2"}, "cuda:0")


def test_a_component_that_the_pipeline_lacks_is_named(tiny_model: LoadedModel) -> None:
    pipeline = next(iter(tiny_model.pipelines.values()))
    with pytest.raises(LoadFailed, match="components: the pipeline has no text_encoder_2"):
        placing._bring(pipeline, "cpu", {"text_encoder_2": "cpu"})
