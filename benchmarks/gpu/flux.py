"""FLUX: attention backends, compiled blocks, and LoRAs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from benchmarks.gpu.measuring import Draw, drawing, request
from benchmarks.gpu.models import flux_model
from benchmarks.gpu.setup import Setup
from core.generation.request import GenerationRequest, Lora
from models.catalogue.addons import LoraSpec
from models.catalogue.sources import Source
from models.weights.loading import LoadedModel

SIZE_PX = 1024
STEPS = 4
GUIDANCE = 3.5
BACKENDS = ("native", "_native_cudnn", "_native_flash")
LORAS = 8
RANK = 16
ADAPTED = ("to_q", "to_k", "to_v", "proj_mlp", "proj_out", "add_q_proj", "add_k_proj", "add_v_proj")


def flux(setup: Setup) -> None:
    model = flux_model(setup)
    setup.emit(what="weights", gib=model.weights_gib)
    transformer = model.components["transformer"]
    with drawing(setup, model) as draw:
        draw(_requests(setup, model, 1))
        for backend in BACKENDS if setup.on_gpu else BACKENDS[:1]:
            _try_backend(setup, model, draw, backend)
        transformer.set_attention_backend("native")
        if setup.on_gpu:
            _try_compiled(setup, model, draw)


def _try_backend(setup: Setup, model: LoadedModel, draw: Draw, backend: str) -> None:
    try:
        model.components["transformer"].set_attention_backend(backend)
    except (ImportError, RuntimeError, ValueError) as error:
        setup.emit(what=f"attention {backend}", refused=str(error)[:200])
        return
    for count in (1, 4):
        drawn = draw(_requests(setup, model, count))
        setup.emit(what=f"attention {backend}, {count} images", **drawn.figures(), peak_gib=setup.peak_gib())


def _try_compiled(setup: Setup, model: LoadedModel, draw: Draw) -> None:
    started_s = time.perf_counter()
    model.components["transformer"].compile_repeated_blocks(fullgraph=True)
    draw(_requests(setup, model, 1))
    setup.emit(what="compiling its blocks, with the first image", seconds=time.perf_counter() - started_s)
    for count in (1, 4):
        draw(_requests(setup, model, count))
        setup.emit(what=f"compiled, {count} images", **draw(_requests(setup, model, count)).figures())


def lora(setup: Setup) -> None:
    model = flux_model(setup)
    with tempfile.TemporaryDirectory() as folder:
        model = replace(model, loras=_make_loras(model.components["transformer"], Path(folder)))
        with drawing(setup, model) as draw:
            for what, names in _crowds(tuple(model.loras)).items():
                plain = _requests(setup, model, len(names))
                requests = [_wearing(each, name) for each, name in zip(plain, names, strict=True)]
                draw(requests)
                setup.emit(what=what, **draw(requests).figures())


def _crowds(names: Sequence[str]) -> Mapping[str, Sequence[str | None]]:
    """By title: the LoRA of each image."""
    first = names[0]
    return {
        "1 image without": [None],
        "1 image with one": [first],
        "4 images without": [None] * 4,
        "4 images with the same": [first] * 4,
        "4 images, one of them with one": [first, None, None, None],
        "4 images with different ones": names[:4],
        "8 images without": [None] * len(names),
        "8 images with different ones": names,
    }


def _wearing(plain: GenerationRequest, name: str | None) -> GenerationRequest:
    return plain.model_copy(update={"loras": (Lora(name=name),) if name else ()})


def _make_loras(transformer: torch.nn.Module, folder: Path) -> Mapping[str, LoraSpec]:
    """Save LoRAs over the attention and the large layers of every block."""
    layers = {
        name: layer
        for name, layer in transformer.named_modules()
        if isinstance(layer, torch.nn.Linear) and name.rpartition(".")[2] in ADAPTED and "blocks" in name
    }
    specs = {}
    for number in range(LORAS):
        file = folder / f"{number}.safetensors"
        save_file(_lora_weights(layers), file)
        specs[f"lora-{number}"] = LoraSpec(source=Source(path=file))
    return specs


def _lora_weights(layers: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    weights = {}
    for name, layer in layers.items():
        outputs, inputs = layer.weight.shape
        weights[f"transformer.{name}.lora_A.weight"] = torch.randn(RANK, inputs, dtype=torch.bfloat16) * 0.01
        weights[f"transformer.{name}.lora_B.weight"] = torch.randn(outputs, RANK, dtype=torch.bfloat16) * 0.01
    return weights


def _requests(setup: Setup, model: LoadedModel, count: int) -> list[GenerationRequest]:
    return [
        request(model, number, steps=setup.steps(STEPS), size_px=setup.px(SIZE_PX), guidance=GUIDANCE)
        for number in range(count)
    ]
