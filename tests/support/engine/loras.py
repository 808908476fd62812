"""LoRAs with random weights, and requests that use them beside the plain pipeline's own way."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from PIL import Image

from core.generation.request import GenerationRequest, Lora
from models.catalogue.addons import LoraSpec
from models.catalogue.families import FAMILIES
from models.catalogue.sources import Source
from models.weights.loading import LoadedModel, load_pipelines
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE, load_conditioned, load_tiny

Layers = Mapping[str, Sequence[str]]
"""The names of changed layers, by component."""
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
LAYERS: Mapping[str, tuple[Layers, Layers]] = {
    "stable-diffusion": (
        {"unet": (*ATTENTION, "conv1", "conv_in"), "text_encoder": ("q_proj", "out_proj")},
        {"unet": ("to_q", "conv1", "conv2", "time_emb_proj")},
    ),
    "stable-diffusion-xl": (
        {"unet": ATTENTION, "text_encoder": ("q_proj", "out_proj"), "text_encoder_2": ("q_proj", "fc1")},
        {"unet": ("to_q", "proj_in"), "text_encoder_2": ("q_proj", "fc2")},
    ),
    "stable-diffusion-3": (
        {"transformer": ATTENTION, "text_encoder": ("q_proj",), "text_encoder_2": ("q_proj",)},
        {"transformer": ("to_q", "add_q_proj", "ff.net.2")},
    ),
    "flux": (
        {"transformer": (*ATTENTION, "x_embedder", "proj_mlp"), "text_encoder": ("q_proj", "out_proj")},
        {"transformer": ("to_q", "norm1.linear")},
    ),
}
"""Of the LoRAs "a" and "b", by family."""
_SAVED: dict[tuple[object, ...], bytes] = {}
"""Files of LoRAs, by all that they follow from: every tiny pipeline of a class has the same modules."""


def random_lora(pipeline: DiffusionPipeline, file: Path, layers: Layers, rank: int = 3, **config: Any) -> LoraSpec:
    """Save a LoRA with random weights, different for each file, as the pipeline's own training scripts do.

    One that was saved before is copied: peft takes longer over it than a test's images do.
    """
    key = (type(pipeline).__name__, file.name, rank, repr(layers), repr(config))
    if key not in _SAVED:
        _save_random_lora(pipeline, file, layers, rank, config)
        _SAVED[key] = file.read_bytes()
    file.write_bytes(_SAVED[key])
    return LoraSpec(source=Source(path=file))


def _save_random_lora(
    pipeline: DiffusionPipeline, file: Path, layers: Layers, rank: int, config: Mapping[str, Any]
) -> None:
    torch.manual_seed(zlib.crc32(file.stem.encode()))
    weights = {}
    for component, names in layers.items():
        module = copy.deepcopy(getattr(pipeline, component))
        module.add_adapter(LoraConfig(r=rank, init_lora_weights=False, target_modules=list(names), **config))
        weights[f"{component}_lora_layers"] = get_peft_model_state_dict(module)
    pipeline.save_lora_weights(file.parent, weight_name=file.name, **weights)


def loaded(
    family: str, folder: Path, *, conditioned: bool = False, **others: tuple[Layers, Mapping[str, Any]]
) -> tuple[LoadedModel, LoadedModel]:
    """Return a tiny model with the LoRAs "a", "b" and `others`, and the same without any, for the plain pipeline."""
    model = (load_conditioned if conditioned else load_tiny)(family, folder / "model")
    first = next(iter(model.pipelines.values()))
    (of_a, of_b) = LAYERS.get(family, ({}, {}))
    specs = {
        name: random_lora(first, folder / f"{name}.safetensors", layers)
        for name, layers in (("a", of_a), ("b", of_b))
        if layers
    }
    specs |= {
        name: random_lora(first, folder / f"{name}.safetensors", layers, **config)
        for name, (layers, config) in others.items()
    }
    plain = replace(model, pipelines=load_pipelines(FAMILIES[family], str(folder / "model")))
    return replace(model, loras=specs), plain


def wearing(wanted: GenerationRequest, **scales: float) -> GenerationRequest:
    """The request with these LoRAs."""
    loras = tuple(Lora(name=name, scale=scale) for name, scale in sorted(scales.items()))
    return wanted.model_copy(update={"loras": loras})


def draw_alone(model: LoadedModel, plain: LoadedModel, wanted: GenerationRequest) -> Image.Image:
    """Draw with the plain pipeline and its own way of using LoRAs."""
    try:
        return _draw_with_loras(model, plain, wanted)
    finally:
        plain.pipelines[wanted.task].unload_lora_weights()


def _draw_with_loras(model: LoadedModel, plain: LoadedModel, wanted: GenerationRequest) -> Image.Image:
    """Draw so, and leave the LoRAs loaded for other requests, since loading one takes longer than drawing."""
    pipeline = plain.pipelines[wanted.task]
    there = {name for names in pipeline.get_list_adapters().values() for name in names}
    for name in [lora.name for lora in wanted.loras if lora.name not in there]:
        file = model.loras[name].source.path
        assert file is not None
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=name)
    if wanted.loras:
        pipeline.enable_lora()
        scales = [lora.scale * model.loras[lora.name].scale for lora in wanted.loras]
        pipeline.set_adapters([lora.name for lora in wanted.loras], scales)
    elif there:
        pipeline.disable_lora()
    return draw_plain(plain, wanted)


async def largest_batch(
    model: LoadedModel, plain: LoadedModel, wanted: Sequence[GenerationRequest], **limits: Any
) -> int:
    """Draw a crowd, compare each picture with the plain pipeline's, return the calls of the largest denoiser pass."""
    with running(model, **{"batch_tokens": 2**16, **limits}) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    try:
        for each, events in zip(wanted, drawn, strict=True):
            assert pictures(events), events
            difference = largest_difference(pictures(events)[0].image, _draw_with_loras(model, plain, each))
            assert difference <= TOLERANCE, each.loras
    finally:
        next(iter(plain.pipelines.values())).unload_lora_weights()
    return max(recorder.batch_sizes(model.family.denoiser))
