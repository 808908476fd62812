"""LoRA files in layouts that diffusers reads only in part or not at all."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.state_dict_utils import DIFFUSERS_OLD_TO_DIFFUSERS
from safetensors import safe_open
from safetensors.torch import load_file

from models.weights.addons.peft_files import peft_weights

DOWN = (".lora_A.", ".lora_down.", "lora.down.", "lora_linear_layer.down.", "_lora.down.")
"""Substrings that mark the key of a layer's first matrix."""


def names_in(file: Path) -> list[str]:
    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())


def own_weights(file: Path, modules: Container[str]) -> dict[str, torch.Tensor] | None:
    """Return a file's weights renamed if diffusers reads them only under other names; None for all other files."""
    return peft_weights(file, modules) or _processor_weights(file)


def _processor_weights(file: Path) -> dict[str, torch.Tensor] | None:
    """Return the weights of a file from `unet.save_attn_procs`, which does not name the module; None for others."""
    keys = names_in(file)
    if not all(".processor." in key and not key.startswith(("unet.", "text_encoder")) for key in keys):
        return None
    return {f"unet.{name}": weight for name, weight in load_file(file).items()}


def _one_convention(name: str) -> str:
    """Return the name of a text encoder's weight in diffusers' newer convention.

    Diffusers writes attention weights in an older one than MLP weights, and when reading expects only one of the two.
    """
    if name.startswith("text_encoder"):
        for old, new in DIFFUSERS_OLD_TO_DIFFUSERS.items():
            name = name.replace(old, new)
    return name


@contextmanager
def counted_layers(pipeline: DiffusionPipeline) -> Iterator[Callable[[], int]]:
    """Yield a function that returns the number of layers in the LoRA file that the pipeline loads in this block.

    Diffusers skips layers that do not fit and only logs that, so they are counted in what `lora_state_dict` returns.
    """
    translate: Any = pipeline.lora_state_dict
    layers = 0

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal layers
        translated = translate(*args, **options)
        weights, *rest = translated if isinstance(translated, tuple) else (translated,)
        layers = sum(any(part in name for part in DOWN) for name in weights)
        weights = {_one_convention(name): weight for name, weight in weights.items()}
        return (weights, *rest) if rest else weights

    # Bypasses `DiffusionPipeline.__setattr__`.
    pipeline.__dict__["lora_state_dict"] = counting
    try:
        yield lambda: layers
    finally:
        del pipeline.__dict__["lora_state_dict"]
