"""LoRA files as peft itself saves them: without the module's name, and with the scale in a separate file."""

from __future__ import annotations

import json
import math
from collections.abc import Container
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file

PREFIX = "base_model.model."
"""The prefix of every weight that `PeftModel.save_pretrained` writes."""
CONFIG = "adapter_config.json"
DENOISERS = ("unet", "transformer")


def peft_weights(file: Path, modules: Container[str]) -> dict[str, torch.Tensor] | None:
    """Return the weights of a file that peft wrote, as diffusers names them, for a pipeline with these modules.

    They are assumed to be the denoiser's, since the file does not say. None for all other files.
    """
    with safe_open(file, "pt") as tensors:
        if not all(name.startswith(PREFIX) for name in tensors.keys()):  # noqa: SIM118, since it is no dictionary
            return None
    denoiser = next(name for name in DENOISERS if name in modules)
    scale = _scale(file.with_name(CONFIG))
    return {
        f"{denoiser}.{name.removeprefix(PREFIX)}": weight * scale if ".lora_B." in name else weight
        for name, weight in load_file(file).items()
    }


def _scale(config: Path) -> float:
    """Return the factor for the product of the two matrices; 1 without a configuration."""
    if not config.is_file():
        return 1.0
    fields = json.loads(config.read_text(encoding="utf-8"))
    rank = fields["r"]
    scale: float = fields["lora_alpha"] / (math.sqrt(rank) if fields.get("use_rslora") else rank)
    return scale
