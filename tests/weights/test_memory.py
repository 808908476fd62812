"""Memory options, on tiny models: what they change about the weights and what they leave equal about the pictures."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from PIL import Image

from core.errors import LoadFailed
from core.generation.events import Event
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.memory.options import WITHOUT_MASKS, Memory
from models.weights.loading import LoadedModel, load, load_pipelines
from models.weights.memory.quantizing import need_package
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS
from tests.tiny import TINY
from tests.tiny.files import component, saved_gguf
from tests.tiny.videos.wan import tiny_wan_a14b

FLUX = FAMILIES["flux"]


def tiny(family: str, folder: Path, **memory: Any) -> LoadedModel:
    checkpoint = TINY[family].save(folder)
    options = Memory.model_validate(memory)
    pipelines = load_pipelines(FAMILIES[family], checkpoint, memory=options)
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))


def assert_same(plain: Sequence[Image.Image], results: Sequence[Sequence[Event]]) -> None:
    """Compare the images of requests with those of the plain pipeline."""
    for image, events in zip(plain, results, strict=True):
        assert largest_difference(pictures(events)[0].image, image) <= 1


@pytest.mark.parametrize("family", ["stable-diffusion", "flux", "z-image"])
async def test_filled_batches_draw_the_same_pictures(family: str, tmp_path: Path) -> None:
    model = tiny(family, tmp_path)
    wanted = crowd(family, TINY[family])[:5]
    plain = [draw_plain(model, each) for each in wanted]
    sizes: list[int] = []
    denoiser = model.components[model.family.denoiser]
    denoiser.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(batch_size(args, kwargs)), with_kwargs=True)
    with running(replace(model, batch_buckets=(3, 7)), batch_tokens=100_000) as (engine, _):
        results = await draw_together(engine, wanted)
    assert set(sizes) <= {3, 7, 14}
    assert_same(plain, results)


async def test_a_batch_that_its_bucket_would_swell_beyond_the_budget_is_cut(tmp_path: Path) -> None:
    model = tiny("stable-diffusion", tmp_path)
    sizes: list[int] = []
    denoiser = model.components[model.family.denoiser]
    denoiser.register_forward_pre_hook(lambda _, args, kwargs: sizes.append(batch_size(args, kwargs)), with_kwargs=True)
    latent_px = 64 // next(iter(model.pipelines.values())).vae_scale_factor
    with running(replace(model, batch_buckets=(2, 4, 8)), batch_tokens=6 * latent_px**2) as (engine, _):
        # Two samples each, so that all three fill the budget, and their bucket of 8 would not fit.
        results = await draw_together(engine, [request(seed=seed) for seed in range(3)])
    assert all(pictures(events) for events in results)
    assert set(sizes) == {2, 4}


def batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    return len(args[0] if args else next(value for value in kwargs.values() if isinstance(value, torch.Tensor | list)))


async def test_sliced_and_tiled_decoding_equals_the_plain_pipeline_under_the_same_options(tmp_path: Path) -> None:
    model = tiny("stable-diffusion", tmp_path, vae_slicing=True, vae_tiling=True)
    vae = model.components["vae"]
    assert vae.use_slicing
    assert vae.use_tiling
    wanted = [request(seed=seed, width=width) for seed, width in ((1, 64), (2, 64), (3, 128))]
    plain = [draw_plain(model, each) for each in wanted]
    with running(model, batch_tokens=4096) as (engine, _):
        results = await draw_together(engine, wanted)
    assert_same(plain, results)


def test_slicing_changes_nothing_about_a_picture(tmp_path: Path) -> None:
    asked = request(seed=4)
    sliced = draw_plain(tiny("stable-diffusion", tmp_path / "sliced", vae_slicing=True), asked)
    assert largest_difference(sliced, draw_plain(tiny("stable-diffusion", tmp_path / "plain"), asked)) == 0


@pytest.mark.skipif(importlib.util.find_spec("optimum") is None, reason="needs the extra `quantization`")
@pytest.mark.parametrize("components", [["transformer"], ["text_encoder_2"]])
async def test_weights_quantized_by_quanto_share_batches(components: list[str], tmp_path: Path) -> None:
    await assert_quantized({"backend": "quanto", "components": components}, "QBytes", tmp_path)


@pytest.mark.skipif(importlib.util.find_spec("torchao") is None, reason="needs the extra `quantization`")
@pytest.mark.parametrize("components", [["transformer"], ["text_encoder_2"]])
async def test_weights_quantized_by_torchao_share_batches(components: list[str], tmp_path: Path) -> None:
    options = {"quant_type": "Int8WeightOnlyConfig"}
    await assert_quantized({"backend": "torchao", "components": components, "options": options}, "Int8", tmp_path)


async def assert_quantized(quantization: dict[str, Any], kind: str, folder: Path) -> None:
    model = tiny("flux", folder, quantization=quantization)
    for name in quantization["components"]:
        assert any(kind in type(parameter).__name__ for parameter in model.components[name].parameters())
    wanted = crowd("flux", TINY["flux"])[:4]
    plain = [draw_plain(model, each) for each in wanted]
    with running(model, batch_tokens=100_000) as (engine, _):
        results = await draw_together(engine, wanted)
    assert_same(plain, results)


async def test_a_gguf_file_is_the_denoiser_of_the_pipeline_that_it_was_made_for(tmp_path: Path) -> None:
    folder = TINY["qwen-image"].save(tmp_path / "pipeline")
    source, config = {"path": saved_gguf(component(folder, "transformer"), tmp_path / "small.gguf")}, {"path": folder}
    entry = Entry.model_validate({**ENTRY, "source": source, "config": config})
    model, plain = load(entry, "cpu"), tiny("qwen-image", tmp_path / "pipeline")
    assert any(type(each).__name__ == "GGUFParameter" for each in model.components["transformer"].parameters())
    wanted = crowd("qwen-image", TINY["qwen-image"])[:2]
    with running(model, batch_tokens=100_000) as (engine, _):
        results = await draw_together(engine, wanted)
    for each, events in zip(wanted, results, strict=True):
        picture = pictures(events)[0].image
        assert largest_difference(picture, draw_plain(model, each)) <= 1
        assert 0 < largest_difference(picture, draw_plain(plain, each)) < 40, "nearly the picture of all bits"


ENTRY = {
    **ENTRY_FIELDS,
    "id": "tiny",
    "family": "qwen-image",
    "defaults": {**DEFAULTS, "scheduler": "flow_euler"},
    "tasks": {"text-to-image": {}, "image-to-image": {}},
}


def test_a_component_that_is_not_there_cannot_be_quantized(tmp_path: Path) -> None:
    quantization = {"backend": "torchao", "components": ["transfomer"], "options": {"quant_type": "x"}}
    with pytest.raises(LoadFailed, match="the pipeline has no transfomer"):
        tiny("flux", tmp_path, quantization=quantization)


def test_a_package_that_is_not_installed_is_named_with_its_extra() -> None:
    with pytest.raises(LoadFailed, match=r"no_such_package is not installed; pip install '\.\[quantization\]'"):
        need_package("no_such_package")


def test_an_attention_backend_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"memory\.attention: flash_9 cannot be used here"):
        tiny("flux", tmp_path, attention="flash_9")
    assert draw_plain(tiny("flux", tmp_path, attention="native"), request(scheduler="flow_euler"))


def test_an_attention_backend_is_that_of_the_model_alone(tmp_path: Path) -> None:
    before = _AttentionBackendRegistry.get_active_backend()
    checkpoint = tiny_wan_a14b(tmp_path)
    pipelines = load_pipelines(FAMILIES["wan"], checkpoint, memory=Memory(attention="_native_math"))
    (pipeline,) = pipelines.values()
    for denoiser in (pipeline.transformer, pipeline.transformer_2):
        assert {each._attention_backend for each in denoiser.attn_processors.values()} == {"_native_math"}
    assert _AttentionBackendRegistry.get_active_backend() == before


def test_attention_backends_without_masks_are_those_that_refuse_them() -> None:
    refusing = {
        backend.value
        for backend, function in _AttentionBackendRegistry._backends.items()
        if "`attn_mask` is not supported" in inspect.getsource(function)
    }
    assert refusing == WITHOUT_MASKS


@pytest.mark.parametrize(
    "family", ["stable-diffusion", "stable-diffusion-3", "flux", "flux2-klein", "qwen-image", "z-image", "wan", "ltx"]
)
async def test_a_family_says_whether_its_denoiser_has_masks_and_a_choice_of_attention(
    family: str, tmp_path: Path
) -> None:
    model = tiny(family, tmp_path)
    denoiser = model.components[model.family.denoiser]
    processors = [module.processor for module in denoiser.modules() if hasattr(module, "processor")]
    chosen = [each for each in processors if hasattr(each, "_attention_backend")]
    assert bool(chosen) == model.family.chooses_attention
    masks: list[bool] = []

    def native(*args: Any, attn_mask: Any = None, **kwargs: Any) -> Any:
        masks.append(attn_mask is not None)
        return plain(*args, attn_mask=attn_mask, **kwargs)

    name = AttentionBackendName.NATIVE
    plain = _AttentionBackendRegistry._backends[name]
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(_AttentionBackendRegistry._backends, name, native)
        with running(model, batch_tokens=100_000) as (engine, _):
            await draw_together(engine, crowd(family, TINY[family])[:3])
    assert any(masks) == model.family.masks


@pytest.mark.parametrize("family", ["stable-diffusion", "flux"])
async def test_components_that_come_when_they_are_called_draw_the_same_pictures(family: str, tmp_path: Path) -> None:
    """With accelerate's hooks, for which a CPU under its full name is device enough; sequential ones need another."""
    checkpoint = TINY[family].save(tmp_path)
    memory = Memory(offload="model")
    pipelines = load_pipelines(FAMILIES[family], checkpoint, memory=memory, device="cpu:0")
    model = LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))
    denoiser = model.components[model.family.denoiser]
    hooked = [module for module in denoiser.modules() if hasattr(module, "_hf_hook")]
    wanted = crowd(family, TINY[family])[:5]
    plain = tiny(family, tmp_path)
    with running(model, batch_tokens=100_000) as (engine, _):
        results = await draw_together(engine, wanted)
    assert hooked == [module for module in denoiser.modules() if hasattr(module, "_hf_hook")] != []
    for each, events in zip(wanted, results, strict=True):
        assert largest_difference(pictures(events)[0].image, draw_plain(plain, each)) <= 1
