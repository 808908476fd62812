"""LoRA files that diffusers reads only in part or not at all; their layers are turned into peft's here."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import load_file
from torch import nn

from core.errors import LoadFailed
from core.wording import some
from models.weights.addons.layer_changes import LayerChange, Read, read_change
from models.weights.addons.lora_names import LoraTarget, find_targets

PARTS = re.compile(
    r"(?P<layer>.+)\.(?P<part>hada_\w+|lokr_\w+|diff|diff_b|alpha|"
    r"lora_(?:down|up|mid|A|B)\.weight|lora_(?:A|B)\.default\.weight|lora_B\.bias)"
)
OWN_PARTS = ("hada_", "lokr_", "diff", "lora_mid")
"""Beginnings of tensor names that diffusers does not read for every family, or would drop."""
ORIGINAL = re.compile(r"(double|single|joint)_blocks[._]\d+[._]")
"""Substrings of the names of layers that are one in the original model and several in diffusers."""
OTHER_ENCODERS = ("lora_te3_", "text_encoders.", "text_encoder_3.")
ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def is_own(names: Iterable[str], denoiser: str) -> bool:
    """Whether a file with these tensor names is read here rather than by diffusers."""
    return any(_is_own(name, denoiser) for name in names)


def _is_own(name: str, denoiser: str) -> bool:
    found = PARTS.fullmatch(name)
    if found is None:
        return False
    original = denoiser == "transformer" and ORIGINAL.search(name) is not None
    return original or found["part"].startswith(OWN_PARTS) or name.startswith(OTHER_ENCODERS)


def inject_own(
    pipeline: DiffusionPipeline, file: Path, adapter: str, modules: Mapping[str, Any], denoiser: str
) -> None:
    """Add a file's layers to the pipeline's modules as a peft adapter.

    Raises LoadFailed, saying what in the file does not fit, and ValueError or KeyError for incomplete layers.
    """
    layers = {name: read_change(tensors) for name, tensors in _layers(load_file(file)).items()}
    targets = find_targets({name: read.outputs for name, read in layers.items()}, pipeline, modules, denoiser)
    _refuse_partial(layers, targets, modules)
    by_component: dict[str, list[tuple[LoraTarget, Read]]] = defaultdict(list)
    for name, read in layers.items():
        for target in targets.get(name, []):
            if isinstance(_layer(modules, target), ADAPTABLE):
                by_component[target.component].append((target, read))
    for component, found in by_component.items():
        _inject(modules[component], adapter, found)


def _layers(tensors: Mapping[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    layers: dict[str, dict[str, torch.Tensor]] = defaultdict(dict)
    unknown = []
    for name, tensor in tensors.items():
        found = PARTS.fullmatch(name)
        if found is None:
            unknown.append(name)
        else:
            layers[found["layer"]][found["part"].replace(".default", "")] = tensor.float()
    if unknown:
        raise LoadFailed(f"it holds tensors whose meaning is not known: {some(unknown)}")
    return dict(layers)


def _refuse_partial(
    layers: Mapping[str, Read], targets: Mapping[str, list[LoraTarget]], modules: Mapping[str, Any]
) -> None:
    """Raise LoadFailed if any layer would be left out."""
    wanted = [name for name, read in layers.items() if not read.is_nothing]
    foreign = [name for name in wanted if not targets.get(name)]
    if foreign:
        fitting = len(wanted) - len(foreign)
        raise LoadFailed(
            f"only {fitting} of its {len(wanted)} layers fit, and {some(foreign)} do not; "
            "it was not made for this model"
        )
    fixed = [name for name in wanted if any(not isinstance(_layer(modules, t), ADAPTABLE) for t in targets[name])]
    if fixed:
        raise LoadFailed(f"it also changes layers of a kind that cannot be changed for one request: {some(fixed)}")


def _layer(modules: Mapping[str, Any], target: LoraTarget) -> Any:
    layer = modules[target.component].get_submodule(target.path)
    return layer.get_base_layer() if hasattr(layer, "get_base_layer") else layer


def _inject(module: Any, adapter: str, found: list[tuple[LoraTarget, Read]]) -> None:
    paths = "|".join(re.escape(target.path) for target, _ in found)
    # peft's own matrices are replaced below, so rank 1 will do.
    config = LoraConfig(r=1, lora_alpha=1, target_modules=f"(?:{paths})", init_lora_weights=False)
    inject_adapter_in_model(config, module, adapter)
    module._hf_peft_config_loaded = True
    for target, read in found:
        layer = module.get_submodule(target.path)
        base = layer.get_base_layer()
        first, second = read.of(base, target.rows)
        layer.lora_A[adapter], layer.lora_B[adapter] = first.to(base.weight.device), second.to(base.weight.device)
        if isinstance(first, LayerChange):
            # Makes wrong shapes fail here, rather than in the first picture.
            first.delta().reshape(base.weight.shape)
