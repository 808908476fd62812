"""LoRAs: requests with different ones, different scales, sets of them and none share passes and are drawn as alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import save_file

from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.events import Failed
from core.generation.request import GenerationRequest, Lora, Task
from models.catalogue.addons import LoraSpec
from models.catalogue.catalogue import Catalogue, CatalogueError, full_catalogue
from models.catalogue.memory.options import Memory
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.catalogue.showing.capabilities import capabilities
from models.catalogue.sources import Source
from models.miniature.lora import colourfulness, distance_from_gold
from models.weights.addons.loras import inject, lora_modules, peft_layers
from models.weights.compiling.denoisers import compile_denoisers
from models.weights.loading import LoadedModel, load, load_pipelines
from tests.support.engine.drawing import draw, draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.loras import ATTENTION, LAYERS, Layers, draw_alone, largest_batch, loaded, wearing
from tests.support.engine.parity import TOLERANCE
from tests.tiny import TINY
from tests.tiny.loras import add, kohya_name, made, shapes_of


def wanted_of(family: str, **changes: Any) -> GenerationRequest:
    return request(scheduler=TINY[family].scheduler, **changes)


def all_kinds(family: str) -> list[GenerationRequest]:
    one = wanted_of(family)
    return [
        one,
        wearing(one, a=1.0),
        wearing(one, b=1.0),
        wearing(one, a=0.5),
        wearing(one, a=-1.0),
        wearing(one, a=1.0, b=0.7),
        wearing(one, a=0.3, b=1.5),
        wearing(wanted_of(family, seed=8, num_inference_steps=6, guidance_scale=2.0), b=0.5),
        wearing(wanted_of(family, task=Task.IMAGE_TO_IMAGE, prompt="a blue boat", strength=1.0), a=1.0),
    ]


@pytest.mark.parametrize("family", LAYERS)
async def test_different_loras_share_passes(family: str, tmp_path: Path) -> None:
    model, plain = loaded(family, tmp_path)
    wanted = all_kinds(family)
    assert await largest_batch(model, plain, wanted) == len(wanted)


async def test_different_loras_share_passes_in_half_precision(tmp_path: Path) -> None:
    model, _ = loaded("flux", tmp_path)
    halves = load_pipelines(model.family, str(tmp_path / "model"), dtype=torch.bfloat16)
    wanted = [wearing(wanted_of("flux", seed=seed), **{name: 1.0}) for seed, name in enumerate("abab")]
    with running(replace(model, pipelines=halves), batch_tokens=2**16) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert all(map(pictures, drawn))
    assert max(recorder.batch_sizes("transformer")) == len(wanted)
    assert recorder.failed == []


async def test_loras_change_pictures(tmp_path: Path) -> None:
    """Otherwise parity would be a small feat."""
    model, _ = loaded("stable-diffusion", tmp_path)
    one = wanted_of("stable-diffusion")
    wanted = [one, wearing(one, a=1.0), wearing(one, a=0.5), wearing(one, b=1.0), wearing(one, a=1.0, b=1.0)]
    with running(model) as (engine, _):
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    differences = [largest_difference(one, other) for i, one in enumerate(drawn) for other in drawn[:i]]
    assert min(differences) > 5


async def test_the_catalogue_scales_requests(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    half = {name: spec.model_copy(update={"scale": 0.5}) for name, spec in model.loras.items()}
    one = wanted_of("stable-diffusion")
    await largest_batch(replace(model, loras=half), plain, [wearing(one, a=1.0), wearing(one, a=2.0, b=1.0)])


async def test_what_cannot_be_mixed_is_grouped(tmp_path: Path) -> None:
    layers: Layers = {"unet": ATTENTION}
    model, plain = loaded("stable-diffusion", tmp_path, dora=(layers, {"use_dora": True}))
    one, other = wanted_of("stable-diffusion"), wanted_of("stable-diffusion", seed=1)
    wanted = [
        *(wearing(each, dora=scale) for each in (one, other) for scale in (1.0, 0.5)),
        *(wearing(each, a=0.5, dora=1.0) for each in (one, other)),
        wearing(one, a=1.0),
        one,
        other,
    ]
    assert await largest_batch(model, plain, wanted) == 3, "those without DoRA"


async def test_loha_lokr_and_whole_weights_share_passes_with_others(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    deltas: dict[str, dict[str, torch.Tensor]] = {}
    specs = dict(model.loras)
    shapes = shapes_of(model.components["unet"], ("to_q", "to_v", "conv2"))
    for kind in ("loha", "lokr_of_products", "diff"):
        tensors, deltas[kind] = made(kind, shapes, kohya_name("lora_unet"))
        save_file(tensors, tmp_path / f"{kind}.safetensors")
        specs[kind] = LoraSpec(source=Source(path=tmp_path / f"{kind}.safetensors"))
    one = wanted_of("stable-diffusion")
    wanted = [
        *(wearing(one, **{kind: scale}) for kind in deltas for scale in (1.0, -0.5)),
        wearing(one, loha=0.5, diff=1.0),
        wearing(one, a=1.0),
        one,
    ]
    with running(replace(model, loras=specs), batch_tokens=2**16) as (engine, recorder):
        drawn = [pictures(events)[0].image for events in await draw_together(engine, wanted)]
    assert max(recorder.batch_sizes("unet")) == len(wanted)
    unet = plain.components["unet"]
    weights = {name: weight.clone() for name, weight in unet.state_dict().items()}
    for each, picture in zip(wanted, drawn, strict=True):
        for lora in (lora for lora in each.loras if lora.name in deltas):
            add(unet, deltas[lora.name], lora.scale)
        rest = each.model_copy(update={"loras": tuple(lora for lora in each.loras if lora.name not in deltas)})
        assert largest_difference(picture, draw_alone(model, plain, rest)) <= TOLERANCE, each.loras
        unet.load_state_dict(weights)
    assert largest_difference(drawn[0], drawn[-1]) > 5


async def test_layers_that_see_no_rows_of_samples(tmp_path: Path) -> None:
    """Z-Image embeds the patches of all samples as one list."""
    layers: Layers = {"transformer": ("to_q", "all_x_embedder.2-1")}
    model, plain = loaded("z-image", tmp_path, patches=(layers, {}), plain=({"transformer": ("to_q",)}, {}))
    one, other = wanted_of("z-image", guidance_scale=0.0), wanted_of("z-image", seed=1, guidance_scale=0.0)
    wanted = [one, *(wearing(each, patches=1.0) for each in (one, other)), wearing(one, plain=1.0)]
    assert await largest_batch(model, plain, wanted) == 2, "two with that LoRA, and two without"
    with running(model) as (engine, recorder):
        await draw_together(engine, [wearing(one, plain=1.0), one])
    assert max(recorder.batch_sizes("transformer")) == 2


async def test_those_least_recently_used_make_room(tmp_path: Path) -> None:
    more: dict[str, Any] = {name: ({"unet": ("to_q",)}, {}) for name in ("c", "d")}
    model, plain = loaded("stable-diffusion", tmp_path, **more)
    one = wanted_of("stable-diffusion")
    each = [wearing(one, **{name: 1.0}) for name in "abcd"]
    with running(model, max_loras=2) as (engine, _):
        for wanted in [*each, *each[:2], wearing(one, a=1.0, d=0.5), one]:
            (drawn,) = pictures(await draw(engine, wanted))
            assert largest_difference(drawn.image, draw_alone(model, plain, wanted)) <= TOLERANCE
            assert len(resident(model)) <= 2
    assert await largest_batch(model, plain, each, max_loras=2) == 2, "only as many are drawn as may be resident"


async def test_sets_and_scales_take_no_memory(tmp_path: Path) -> None:
    model, _ = loaded("stable-diffusion", tmp_path)
    short = wanted_of("stable-diffusion", num_inference_steps=1)
    with running(model) as (engine, _):
        await draw_together(engine, [wearing(short, a=1.0), wearing(short, b=1.0)])
        of_both = parameter_bytes(model)
        await draw_together(engine, [wearing(short, a=tenths / 10, b=1.0) for tenths in range(1, 13)])
        assert parameter_bytes(model) == of_both


async def test_a_set_of_which_one_fails_leaves_other_pictures_alone(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path, c=({"unet": ("to_q",)}, {}))
    (tmp_path / "c.safetensors").unlink()
    one = wanted_of("stable-diffusion")
    with running(model) as (engine, _):
        failed = (await draw(engine, wearing(one, a=1.0, c=1.0)))[-1]
        assert isinstance(failed, Failed)
        assert "'c'" in failed.message
        for wanted in (one, wearing(one, b=1.0)):
            (drawn,) = pictures(await draw(engine, wanted))
            assert largest_difference(drawn.image, draw_alone(model, plain, wanted)) <= TOLERANCE


def test_an_injected_lora_does_not_act(tmp_path: Path) -> None:
    """Whatever fails after its injection, pictures without it stay what they are."""
    model, plain = loaded("stable-diffusion", tmp_path)
    one = wanted_of("stable-diffusion")
    inject(pipeline_of(model), "a", tmp_path / "a.safetensors", "first")
    assert largest_difference(draw_plain(model, one), draw_plain(plain, one)) == 0


async def test_a_device_with_room_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    pipeline: Any = pipeline_of(model)
    real = pipeline.load_lora_weights

    def small_device(*args: Any, **kwargs: Any) -> None:
        real(*args, **kwargs)
        if len(resident(model)) > 1:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(pipeline, "load_lora_weights", small_device)
    one = wanted_of("stable-diffusion")
    with running(model) as (engine, _):
        for wanted in (wearing(one, a=1.0), wearing(one, b=1.0)):
            (drawn,) = pictures(await draw(engine, wanted))
            assert largest_difference(drawn.image, draw_alone(model, plain, wanted)) <= TOLERANCE
        failed = (await draw(engine, wearing(one, a=1.0, b=1.0)))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "out_of_memory"
        assert "'a'" in failed.message
        (drawn,) = pictures(await draw(engine, one))
        assert largest_difference(drawn.image, draw_plain(plain, one)) <= TOLERANCE


async def test_a_closed_engine_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    model, _ = loaded("stable-diffusion", tmp_path)
    names = {part: set(module.state_dict()) for part, module in lora_modules(pipeline_of(model)).items()}
    with running(model) as (engine, _):
        await draw_together(engine, all_kinds("stable-diffusion"))
        assert set(model.components["unet"].state_dict()) != names["unet"]
    assert {part: set(module.state_dict()) for part, module in lora_modules(pipeline_of(model)).items()} == names


async def test_beside_reference_and_control_images(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path, conditioned=True)
    reference = {"reference_image": photo(seed=6, size_px=96), "reference_scale": 0.5}
    control = {"control_image": photo(seed=4), "control_type": "canny"}
    conditions: list[dict[str, Any]] = [{}, reference, control, {**reference, **control}]
    wanted = [
        wearing(wanted_of("stable-diffusion", **condition), **scales)
        for scales in ({"a": 1.0}, {"a": 0.5, "b": 1.0}, {})
        for condition in conditions
    ]
    assert await largest_batch(model, plain, wanted) == 3, "of each condition, under every set of LoRAs"


async def test_beside_control_images_of_a_transformer(tmp_path: Path) -> None:
    model, plain = loaded("flux", tmp_path, conditioned=True)
    control = {"control_image": photo(seed=4), "control_type": "canny"}
    wanted = [
        wearing(wanted_of("flux", **condition), **scales)
        for scales in ({"a": 1.0}, {"a": 0.5, "b": 1.0}, {})
        for condition in ({}, control)
    ]
    assert await largest_batch(model, plain, wanted) == 3, "of each condition, under every set of LoRAs"


async def test_a_compiled_denoiser_is_not_compiled_for_each_mixture(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    graphs = []

    def compile_graph(graph: Any, _inputs: object) -> Any:
        graphs.append(graph)
        return graph.forward

    compile_denoisers(pipeline_of(model), model.family, Memory(compile=True), "cpu", compile_graph)
    with_loras = all_kinds("stable-diffusion")[1:]
    assert await largest_batch(model, plain, with_loras) == len(with_loras)
    assert not graphs
    await largest_batch(model, plain, [wanted_of("stable-diffusion")])
    assert graphs


async def test_nothing_is_injected_for_requests_without(tmp_path: Path) -> None:
    model, _ = loaded("stable-diffusion", tmp_path)
    with running(model) as (engine, _):
        await draw(engine, wanted_of("stable-diffusion"))
    assert not any(list(peft_layers(module)) for module in lora_modules(pipeline_of(model)).values())


def pipeline_of(model: LoadedModel) -> DiffusionPipeline:
    return next(iter(model.pipelines.values()))


def resident(model: LoadedModel) -> set[str]:
    """The adapters that are injected in any module."""
    modules = lora_modules(pipeline_of(model)).values()
    return {adapter for module in modules for adapter in getattr(module, "peft_config", {})}


def parameter_bytes(model: LoadedModel) -> int:
    """Of all modules that LoRAs may change, LoRAs included."""
    modules = lora_modules(pipeline_of(model)).values()
    return sum(parameter.nbytes for module in modules for parameter in module.parameters())


def _damaged(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _missing(file: Path) -> None:
    file.unlink()


def _pickled(file: Path) -> None:
    torch.save({"unet.conv_in.lora_A.weight": torch.zeros(3, 4)}, file)


def _misshapen(file: Path) -> None:
    """The text encoder's part is fine, and the UNet's is for a wider one."""
    down, up = torch.zeros(3, 77), torch.zeros(77, 3)
    save_file(
        {
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight": down,
            "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight": up,
        },
        file,
    )


def _foreign(file: Path) -> None:
    save_file({"transformer.blocks.0.lora_A.weight": torch.zeros(3, 4)}, file)


def _incomplete(file: Path) -> None:
    name = "unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_q.lora_B.weight"
    save_file({name: torch.zeros(32, 3)}, file)


@pytest.mark.parametrize("spoil", [_damaged, _missing, _pickled, _misshapen, _foreign, _incomplete])
async def test_a_bad_file_fails_its_request_alone(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    file = model.loras["a"].source.path
    assert file is not None
    good = file.read_bytes()
    spoil(file)
    one, names = wanted_of("stable-diffusion"), set(model.components["unet"].state_dict())
    with running(model) as (engine, _):
        bad, *fine = await draw_together(engine, [wearing(one, a=1.0), one])
        assert isinstance(bad[-1], Failed)
        assert "'a'" in bad[-1].message
        assert set(model.components["unet"].state_dict()) == names, "the UNet is what it was"
        assert resident(model) == set()
        with_b = await draw(engine, wearing(one, b=1.0))
        assert isinstance((await draw(engine, wearing(one, a=1.0, b=1.0)))[-1], Failed)
        file.write_bytes(good)
        mended = await draw(engine, wearing(one, a=1.0))
    for events, wanted in ((fine[0], one), (with_b, wearing(one, b=1.0)), (mended, wearing(one, a=1.0))):
        assert largest_difference(pictures(events)[0].image, draw_alone(model, plain, wanted)) <= TOLERANCE


async def test_loras_of_the_model_itself_are_fused(tmp_path: Path) -> None:
    model, plain = loaded("stable-diffusion", tmp_path)
    always = {name: spec.model_copy(update={"always": True, "scale": 0.7}) for name, spec in model.loras.items()}
    fused = replace(model, pipelines=load_pipelines(model.family, str(tmp_path / "model"), loras=always), loras={})
    one = wanted_of("stable-diffusion")
    assert not list(peft_layers(fused.components["unet"]))
    with running(fused) as (engine, _):
        (drawn,) = pictures(await draw(engine, one))
    assert largest_difference(drawn.image, draw_alone(model, plain, wearing(one, a=0.7, b=0.7))) <= TOLERANCE


async def test_the_miniature_draws_in_its_styles() -> None:
    entry = full_catalogue(None).get("miniature")
    sets: tuple[dict[str, float], ...] = ({}, {"sketch": 1.0}, {"frame": 1.0}, {"frame": 0.9, "sketch": 0.5})
    values = entry.defaults.model_dump(
        include={"width", "height", "num_inference_steps", "guidance_scale", "scheduler"}
    )
    one = request(prompt="a snowman on a blue background", seed=3, **values)
    with running(load(entry, "cpu"), batch_tokens=entry.batch_tokens) as (engine, recorder):
        drawn = await draw_together(engine, [wearing(one, **styles) for styles in sets])
    assert max(recorder.batch_sizes("unet")) == len(sets)
    images = np.stack([np.asarray(pictures(events)[0].image) for events in drawn]) / 255
    assert [colour < 0.25 for colour in colourfulness(images[:, 16:-16, 16:-16])] == ["sketch" in each for each in sets]
    assert [distance < 0.25 for distance in distance_from_gold(images)] == ["frame" in each for each in sets]


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "miniature" / "ink-2.safetensors"
    file.parent.mkdir()
    file.touch()
    entry = full_catalogue(None, tmp_path).get("miniature")
    assert {"ink-2", *full_catalogue(None).get("miniature").loras} == set(entry.choosable_loras)
    assert capabilities(entry)["loras"]["ink-2"] == ""
    draft = Draft(task=Task.TEXT_TO_IMAGE, prompt="a fox", loras=(Lora(name="ink-2"),))
    server = ServerLimits(max_prompt_chars=100, max_num_images=1, max_deadline_s=1)
    assert resolve(draft, Catalogue([entry]), server).loras == draft.loras
    with pytest.raises(InvalidRequest, match=re.escape("'../ink-2' is unknown")):
        resolve(draft.model_copy(update={"loras": (Lora(name="../ink-2"),)}), Catalogue([entry]), server)


@pytest.mark.parametrize("name", ["sketch", "---"])
def test_names_that_a_folder_may_not_have(name: str, tmp_path: Path) -> None:
    (tmp_path / "miniature").mkdir()
    (tmp_path / "miniature" / f"{name}.safetensors").touch()
    catalogue = full_catalogue(None, tmp_path)
    assert [f"{name}.safetensors is skipped" in note for note in catalogue.notes] == [True]
    assert catalogue.get("miniature").loras.keys() == full_catalogue(None).get("miniature").loras.keys()


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match="no such folder"):
        full_catalogue(None, tmp_path / "loras")
