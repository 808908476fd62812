"""LoRA files of layouts that diffusers does not read, or would only read a part of."""

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
"""What the key of each layer's first matrix contains."""


def names_in(file: Path) -> list[str]:
    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())


def own_weights(file: Path, modules: Container[str]) -> dict[str, torch.Tensor] | None:
    """Return the weights of a file that diffusers reads only under other names, or None for all others."""
    return peft_weights(file, modules) or _processor_weights(file)


def _processor_weights(file: Path) -> dict[str, torch.Tensor] | None:
    """Those that `unet.save_attn_procs` wrote, which do not name their module."""
    keys = names_in(file)
    if not all(".processor." in key and not key.startswith(("unet.", "text_encoder")) for key in keys):
        return None
    return {f"unet.{name}": weight for name, weight in load_file(file).items()}


def _one_convention(name: str) -> str:
    """Return the name of a text encoder's weight in the one convention that diffusers also uses for its MLPs.

    It writes those of attention in an older one, and takes a file of both for one of either.
    """
    if name.startswith("text_encoder"):
        for old, new in DIFFUSERS_OLD_TO_DIFFUSERS.items():
            name = name.replace(old, new)
    return name


@contextmanager
def counted_layers(pipeline: DiffusionPipeline) -> Iterator[Callable[[], int]]:
    """Yield a function that returns for how many layers the file was that the pipeline has loaded in this block.

    Diffusers leaves out what does not fit, and only logs it; what it has translated is what `lora_state_dict` returns.
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

    # Past `DiffusionPipeline.__setattr__`.
    pipeline.__dict__["lora_state_dict"] = counting
    try:
        yield lambda: layers
    finally:
        del pipeline.__dict__["lora_state_dict"]
