"""LoRA files in layouts of other programs: the same LoRA acts the same, and what is not read in whole is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file

from core.errors import LoadFailed
from models.weights.addons.loras import holds, inject, lora_modules, peft_layers
from tests.support.engine.loras import random_lora
from tests.support.engine.parity import load_tiny

Weights = Mapping[str, torch.Tensor]
PREFIXES = {"unet": "lora_unet", "text_encoder": "lora_te", "text_encoder_2": "lora_te2"}


def pipeline_of(family: str, folder: Path) -> DiffusionPipeline:
    return next(iter(load_tiny(family, folder / "model").pipelines.values()))


def saved(pipeline: DiffusionPipeline, file: Path, layers: Mapping[str, tuple[str, ...]]) -> Weights:
    random_lora(pipeline, file, layers)
    return load_file(file)


def kohya(weights: Weights, **prefixes: str) -> dict[str, torch.Tensor]:
    """Name the weights as kohya's trainer does."""
    named = {}
    for name, weight in weights.items():
        path, _, matrix = name.replace("lora_linear_layer", "lora").partition(".lora")
        component, _, layer = path.partition(".")
        prefix = {**PREFIXES, **prefixes}[component]
        direction = "down" if "down" in matrix or "A" in matrix else "up"
        named[f"{prefix}_{layer.replace('.', '_')}.lora_{direction}.weight"] = weight
    return named


def changed(pipeline: DiffusionPipeline) -> int:
    """How many layers the adapter changes."""
    return sum(holds(layer, "a") for module in lora_modules(pipeline).values() for layer in peft_layers(module))


def test_of_what_fits_in_part_nothing_is_used(tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    weights = kohya(saved(pipeline, tmp_path / "whole.safetensors", {"unet": ("to_q",)}))
    foreign = {name.replace("mid_block", "down_blocks_7"): w for name, w in weights.items() if "mid_block" in name}
    save_file({**weights, **{name: w.clone() for name, w in foreign.items()}}, tmp_path / "half.safetensors")
    layers, extra = len(weights) // 2, len(foreign) // 2
    said = rf"'half' cannot be loaded: only {layers} of its {layers + extra} layers fit; it was not made for this model"
    with pytest.raises(LoadFailed, match=said):
        inject(pipeline, "half", tmp_path / "half.safetensors", "a")
    assert changed(pipeline) == 0


def test_attention_processors_without_the_name_of_their_module_are_read(tmp_path: Path) -> None:
    pipeline = pipeline_of("stable-diffusion", tmp_path)
    old: dict[str, Any] = {}
    for name, weight in saved(pipeline, tmp_path / "whole.safetensors", {"unet": ("to_q", "to_v")}).items():
        path, _, matrix = name.removeprefix("unet.").partition(".lora")
        attention, _, layer = path.rpartition(".")
        direction = "down" if "down" in matrix or "A" in matrix else "up"
        old[f"{attention}.processor.{layer}_lora.{direction}.weight"] = weight
    save_file(old, tmp_path / "old.safetensors")
    inject(pipeline, "old", tmp_path / "old.safetensors", "a")
    assert changed(pipeline) == len(old) // 2


def test_a_text_encoder_keeps_attention_beside_its_mlps(tmp_path: Path) -> None:
    """Diffusers names the two by different conventions, and drops one of them."""
    pipeline = pipeline_of("stable-diffusion-xl", tmp_path)
    layers = {"unet": ("to_q",), "text_encoder": ("q_proj", "fc1"), "text_encoder_2": ("q_proj", "fc1")}
    weights = kohya(saved(pipeline, tmp_path / "whole.safetensors", layers), text_encoder="lora_te1")
    save_file(weights, tmp_path / "kohya.safetensors")
    inject(pipeline, "kohya", tmp_path / "kohya.safetensors", "a")
    assert changed(pipeline) == len(weights) // 2
