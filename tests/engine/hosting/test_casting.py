"""Weights that are stored in 8 bits and cast layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.errors import LoadFailed
from models.catalogue.families import FAMILIES, TEXT_ENCODERS
from models.catalogue.memory.options import Memory, denoisers_of
from models.weights.addons.loras import eject, inject
from models.weights.loading import LoadedModel, load_pipelines
from models.weights.memory.casting import cast_layers
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import (
    draw_plain,
    draw_together,
    frames_of,
    largest_difference,
    plain_frames,
    request,
    results,
)
from tests.support.engine.engines import running
from tests.support.engine.loras import draw_alone, loaded, wearing
from tests.tiny import TINY

OF_ALL_KINDS = (
    "stable-diffusion-xl",
    "stable-diffusion-3",
    "flux",
    "flux2-klein",
    "qwen-image",
    "z-image",
    "wan-i2v",
    "ltx",
)
FLOAT8 = torch.float8_e4m3fn


def tiny(family: str, folder: Path, *components: str) -> LoadedModel:
    memory = Memory(storage_dtype=dict.fromkeys(components, "float8_e4m3fn"))
    pipelines = load_pipelines(FAMILIES[family], str(folder), memory=memory)
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))


def castable(model: LoadedModel) -> list[str]:
    return [name for name in (*denoisers_of(model.family), *TEXT_ENCODERS) if model.components.get(name) is not None]


def round_as(cast: LoadedModel, whole: LoadedModel) -> None:
    """Round the weights of a whole model to what another stores in 8 bits."""
    for name in castable(cast):
        layers, own = {*cast_layers(cast.components[name])}, dict(whole.components[name].named_modules())
        for path, layer in cast.components[name].named_modules():
            for weight in own[path].parameters() if layer in layers else ():
                weight.data = weight.data.to(FLOAT8).float()


@pytest.mark.parametrize("family", OF_ALL_KINDS)
async def test_what_is_stored_in_8_bits_draws_as_weights_that_were_rounded_to_them(family: str, tmp_path: Path) -> None:
    whole = tiny(family, TINY[family].save(tmp_path))
    cast = tiny(family, tmp_path, *castable(whole))
    assert cast.weights_gib < 0.9 * whole.weights_gib
    assert {cast.components[name].dtype for name in castable(cast)} == {torch.float32}, "inputs have this precision"
    rounded = tiny(family, tmp_path)
    round_as(cast, rounded)
    wanted = [each for each in crowd(family, TINY[family]) if each.control_type is None and not each.reference_image][
        :4
    ]
    with running(cast, batch_tokens=100_000) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert max(recorder.denoising) > 1
    assert not recorder.failed
    for each, events in zip(wanted, drawn, strict=True):
        (result,) = results(events)
        for pair in zip(frames_of(result), plain_frames(rounded, each), strict=True):
            assert largest_difference(*pair) <= 1
    layers = [layer for name in castable(cast) for layer in cast_layers(cast.components[name])]
    assert {weight.dtype for layer in layers for weight in layer.parameters()} == {FLOAT8}, "also after the passes"


@pytest.mark.parametrize("family", ["stable-diffusion", "flux"])
async def test_loras_are_computed_as_precisely_as_ever(family: str, tmp_path: Path) -> None:
    model, plain = loaded(family, tmp_path)
    cast = tiny(family, tmp_path / "model", *castable(model))
    round_as(cast, plain)
    one = request(scheduler=TINY[family].scheduler)
    wanted = [one, wearing(one, a=1.0), wearing(one, b=0.5), wearing(one, a=0.5, b=1.0)]
    with running(replace(cast, loras=model.loras), batch_tokens=100_000) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert max(recorder.denoising) > 2
    for each, events in zip(wanted, drawn, strict=True):
        (picture,) = results(events)
        assert largest_difference(frames_of(picture)[0], draw_alone(model, plain, each)) <= 1


def test_what_is_stored_in_8_bits_stays_so_while_a_lora_comes_and_leaves(tmp_path: Path) -> None:
    """Also where no pass follows."""
    model, _ = loaded("stable-diffusion", tmp_path)
    cast = tiny("stable-diffusion", tmp_path / "model", *castable(model))
    pipeline = next(iter(cast.pipelines.values()))
    layers = [layer for name in castable(cast) for layer in cast_layers(cast.components[name])]
    before = cast.weights_gib
    file = model.loras["a"].source.path
    assert file is not None
    inject(pipeline, "a", file, "a")
    assert {layer.weight.dtype for layer in layers} == {FLOAT8}
    eject(pipeline, "a")
    assert {layer.weight.dtype for layer in layers} == {FLOAT8}
    assert replace(cast).weights_gib == before
    assert cast.components["text_encoder"].to(torch.float64).dtype is torch.float64, "as anybody may"


def test_a_component_that_is_not_there_cannot_be_cast(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"memory\.storage_dtype: the pipeline has no text_encoder_3"):
        tiny("flux", TINY["flux"].save(tmp_path), "text_encoder_3")


async def test_both_at_once(tmp_path: Path) -> None:
    folder = TINY["flux"].save(tmp_path)
    cast = tiny("flux", folder, "transformer", "text_encoder_2")
    memory = Memory(offload="group", storage_dtype={"transformer": "float8_e4m3fn", "text_encoder_2": "float8_e4m3fn"})
    both = replace(cast, pipelines=load_pipelines(FAMILIES["flux"], str(folder), memory=memory, device="cpu:0"))
    wanted = crowd("flux", TINY["flux"])[:3]
    with running(both, batch_tokens=100_000) as (engine, _):
        drawn = await draw_together(engine, wanted)
    for each, events in zip(wanted, drawn, strict=True):
        assert largest_difference(frames_of(results(events)[0])[0], draw_plain(cast, each)) <= 1
