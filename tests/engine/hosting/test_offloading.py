"""Weights in main memory: what is not on the device is not computed with, and pictures stay the same."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.hooks.group_offloading import _GROUP_OFFLOADING, ModuleGroup
from safetensors.torch import save_file
from torch import nn

from core.errors import LoadFailed
from core.generation.request import Task
from models.catalogue.families import FAMILIES
from models.catalogue.memory.options import Memory
from models.weights.addons.loras import eject, inject, peft_layers
from models.weights.loading import LoadedModel, load_pipelines
from models.weights.memory.offloading import Turns, is_grouped, modules_of
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import draw_together, frames_of, largest_difference, plain_frames, request, results
from tests.support.engine.engines import running
from tests.support.engine.loras import draw_alone, loaded, random_lora, wearing
from tests.tiny import TINY
from tests.tiny.loras import kohya_name, made, shapes_of

GROUPS, LAYERS, WHOLE = Memory(offload="group"), Memory(offload="sequential"), Memory()


@pytest.fixture
def away(monkeypatch: pytest.MonkeyPatch) -> list[ModuleGroup]:
    """Make weights NaN while they are in main memory, since a CPU would compute with them; return what came."""
    kept: dict[torch.Tensor, torch.Tensor] = {}
    came: list[ModuleGroup] = []

    def weights(group: ModuleGroup) -> Iterator[torch.Tensor]:
        held = chain(group.parameters, group.buffers, *(each.parameters() for each in group.modules))
        return (weight for weight in held if weight.is_floating_point())

    def leave(group: ModuleGroup) -> None:
        for weight in weights(group):
            if weight not in kept:
                kept[weight], weight.data = weight.data, torch.full_like(weight, torch.nan)

    def come(group: ModuleGroup) -> None:
        came.append(group)
        for weight in weights(group):
            if weight in kept:
                weight.data = kept.pop(weight)

    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", leave)
    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", come)
    return came


def offloaded(model: LoadedModel, folder: Path, memory: Memory) -> LoadedModel:
    """Load a tiny model again; a CPU under its full name is as good a device as any."""
    pipelines = load_pipelines(model.family, str(folder), memory=memory, device="cpu:0")
    return replace(model, pipelines=pipelines, ip_adapter=None)


def tiny(family: str, folder: Path, memory: Memory = WHOLE) -> LoadedModel:
    pipelines = load_pipelines(FAMILIES[family], TINY[family].save(folder), memory=memory)
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))


@pytest.mark.parametrize(
    "family", ["stable-diffusion-xl", "stable-diffusion-3", "flux", "flux2-klein", "qwen-image", "z-image", "wan-i2v"]
)
async def test_blocks_that_come_when_they_are_called_draw_the_very_same(
    family: str, tmp_path: Path, away: list[ModuleGroup]
) -> None:
    # On a device that needs none of it, but laid out as weights are that move.
    model = tiny(family, tmp_path, GROUPS)
    grouped = offloaded(model, tmp_path, GROUPS)
    wanted = [each for each in crowd(family, TINY[family]) if not each.control_type and not each.reference_image]
    drawn = []
    for each in (model, grouped):
        with running(each, batch_tokens=100_000) as (engine, recorder):
            drawn.append(await draw_together(engine, wanted[:4]))
        assert max(recorder.denoising) > 1
        assert not recorder.failed
    for plain, moved in zip(*drawn, strict=True):
        (one,), (other,) = results(plain), results(moved)
        for pair in zip(frames_of(one), frames_of(other), strict=True):
            assert largest_difference(*pair) <= 1
    alone, moved_alone = (plain_frames(each, wanted[0]) for each in (model, grouped))
    assert [largest_difference(*pair) for pair in zip(alone, moved_alone, strict=True)] == [0] * len(alone)
    denoiser = grouped.components[grouped.family.denoiser]
    assert is_grouped(denoiser)
    assert not is_grouped(grouped.components["vae"])
    assert len({id(group) for group in away}) > 3, "not all at once"
    assert all(weight.isnan().all() for weight in list(denoiser.parameters())[:3])


@pytest.mark.parametrize("family", ["stable-diffusion-xl", "flux", "z-image", "wan-i2v", "qwen-image"])
async def test_layers_of_all_components_come_when_they_are_called(
    family: str, tmp_path: Path, away: list[ModuleGroup]
) -> None:
    model = tiny(family, tmp_path)
    in_layers = offloaded(model, tmp_path, LAYERS)
    wanted = [each for each in crowd(family, TINY[family]) if not each.control_type and not each.reference_image][:3]
    drawn = []
    for each in (model, in_layers):
        with running(each, batch_tokens=100_000) as (engine, recorder):
            drawn.append(await draw_together(engine, wanted))
        assert not recorder.failed
    for plain, moved in zip(*drawn, strict=True):
        (one,), (other,) = results(plain), results(moved)
        for pair in zip(frames_of(one), frames_of(other), strict=True):
            assert largest_difference(*pair) <= 1
    assert away
    modules = modules_of(next(iter(in_layers.pipelines.values())))
    assert all(weight.isnan().all() for module in modules.values() for weight in module.parameters())


@pytest.mark.parametrize("memory", [GROUPS, LAYERS], ids=lambda memory: memory.offload)
async def test_layers_of_a_text_encoder_may_be_skipped_wherever_they_are(
    memory: Memory, tmp_path: Path, away: list[ModuleGroup]
) -> None:
    model = tiny("stable-diffusion", tmp_path)
    wanted = [request(clip_skip=skipped) for skipped in (0, 1)]
    drawn = []
    for each in (model, offloaded(model, tmp_path, memory)):
        with running(each) as (engine, _):
            drawn.append([frames_of(results(events)[0])[0] for events in await draw_together(engine, wanted)])
    assert largest_difference(*drawn[0]) > 1
    assert [largest_difference(*pair) <= 1 for pair in zip(*drawn, strict=True)] == [True, True]
    assert away


@pytest.mark.parametrize("memory", [GROUPS, LAYERS], ids=lambda memory: memory.offload)
@pytest.mark.parametrize("family", ["stable-diffusion", "flux"])
async def test_loras_come_and_go_with_the_weights_that_they_change(
    family: str, memory: Memory, tmp_path: Path, away: list[ModuleGroup]
) -> None:
    model, plain = loaded(family, tmp_path)
    grouped = offloaded(model, tmp_path / "model", memory)
    one = request(scheduler=TINY[family].scheduler)
    wanted = [one, wearing(one, a=1.0), wearing(one, b=0.5), wearing(one, a=0.5, b=1.0)]
    with running(grouped, batch_tokens=100_000, max_loras=2) as (engine, recorder):
        events = await draw_together(engine, wanted)
    assert max(recorder.denoising) > 2
    for each, own in zip(wanted, events, strict=True):
        (picture,) = results(own)
        assert largest_difference(frames_of(picture)[0], draw_alone(model, plain, each)) <= 1
    with running(grouped, batch_tokens=100_000) as (engine, _):
        (left,) = results((await draw_together(engine, [one]))[0])
    assert largest_difference(frames_of(left)[0], draw_alone(model, plain, one)) <= 1, "as it was before the LoRAs"


@pytest.mark.parametrize("kind", ["lora", "loha"])
def test_what_a_lora_adds_belongs_to_the_groups_until_it_leaves(kind: str, tmp_path: Path) -> None:
    """Also to layers outside of all blocks, in diffusers' layout and in those that are read here."""
    model = tiny("stable-diffusion", tmp_path)
    pipeline = next(iter(offloaded(model, tmp_path, GROUPS).pipelines.values()))
    tensors, _ = made(kind, shapes_of(pipeline.unet, ("to_q", "conv_in")), kohya_name("lora_unet"))
    save_file(tensors, tmp_path / "a.safetensors")

    def grouped() -> set[int]:
        hooked: list[Any] = [each for each in pipeline.unet.modules() if hasattr(each, "_diffusers_hook")]
        groups = {each._diffusers_hook.get_hook(_GROUP_OFFLOADING).group for each in hooked}
        return {id(w) for group in groups for w in chain(group.parameters, *(m.parameters() for m in group.modules))}

    before = grouped()
    assert before == {id(weight) for weight in pipeline.unet.parameters()}
    inject(pipeline, "a", tmp_path / "a.safetensors", "a")
    assert before < grouped() == {id(weight) for weight in pipeline.unet.parameters()}
    eject(pipeline, "a")
    assert grouped() == before


def test_a_dora_needs_weights_that_stay(tmp_path: Path) -> None:
    plain = next(iter(tiny("stable-diffusion", tmp_path).pipelines.values()))
    random_lora(plain, tmp_path / "a.safetensors", {"unet": ("to_q",)}, use_dora=True)
    inject(plain, "a", tmp_path / "a.safetensors", "a")
    layers = next(iter(offloaded(tiny("stable-diffusion", tmp_path), tmp_path, LAYERS).pipelines.values()))
    with pytest.raises(LoadFailed, match=r"'a' cannot be loaded: it is a DoRA, and memory\.offload"):
        inject(layers, "a", tmp_path / "a.safetensors", "a")
    assert not any(True for _ in peft_layers(layers.unet))


@pytest.mark.parametrize("family", ["stable-diffusion", "flux"])
async def test_one_component_is_on_the_device_at_a_time(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a request begins while another one denoises."""
    model = tiny(family, tmp_path)
    here: list[nn.Module] = []
    bring = Turns.bring

    def watched(turns: Turns, module: nn.Module) -> None:
        bring(turns, module)
        if here[-1:] != [module]:
            here.append(module)

    monkeypatch.setattr(Turns, "bring", watched)
    turning = offloaded(model, tmp_path, Memory(offload="model"))
    used: list[tuple[nn.Module, nn.Module]] = []
    for module in modules_of(turning.pipelines[Task.TEXT_TO_IMAGE]).values():
        module.register_forward_hook(lambda module, *_: used.append((module, here[-1])))
    wanted = [request(scheduler=TINY[family].scheduler, prompt=str(n), num_inference_steps=3 + n) for n in range(3)]
    with running(model) as (engine, _):
        plain = await draw_together(engine, wanted)
    with running(turning, max_running=2) as (engine, _):
        moved = await draw_together(engine, wanted)
    for one, other in zip(plain, moved, strict=True):
        assert largest_difference(*(frames_of(results(each)[0])[0] for each in (one, other))) <= 1
    assert all(module is there for module, there in used)
    denoiser = turning.components[turning.family.denoiser]
    assert here.count(denoiser) >= 2, "it left for the text encoder of the third request"


@pytest.mark.parametrize("offload", ["model", "group"])
async def test_a_model_that_is_dropped_leaves_no_weights_behind(offload: str, tmp_path: Path) -> None:
    folder = TINY["flux"].save(tmp_path)
    memory = Memory.model_validate({"offload": offload, "storage_dtype": {"transformer": "float8_e4m3fn"}})
    pipelines = load_pipelines(FAMILIES["flux"], str(folder), memory=memory, device="cpu:0")
    model = LoadedModel("tiny", FAMILIES["flux"], pipelines, torch.device("cpu"))
    with running(model) as (engine, _):
        assert results((await draw_together(engine, [request(scheduler="flow_euler")]))[0])
    weights = [weakref.ref(weight) for weight in model.components["transformer"].parameters()]
    del model, pipelines, engine
    gc.collect()
    assert not any(weight() for weight in weights)


def test_what_has_no_room_leaves_no_part_of_itself_behind() -> None:
    class Large(nn.Module):
        def to(self, *args: Any, **kwargs: Any) -> Large:
            moves.append(str(args[0]))
            if moves == ["cuda:0"]:
                raise torch.OutOfMemoryError
            return self

    moves: list[str] = []
    turns, module = Turns(torch.device("cuda", 0)), Large()
    with pytest.raises(torch.OutOfMemoryError):
        turns.bring(module)
    turns.bring(module)
    turns.bring(module)
    assert moves == ["cuda:0", "cpu", "cuda:0"]
