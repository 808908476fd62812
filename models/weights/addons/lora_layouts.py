"""LoRA files of layouts that diffusers does not read, or would only read a part of."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline
from diffusers.utils.state_dict_utils import DIFFUSERS_OLD_TO_DIFFUSERS
from safetensors import safe_open
from safetensors.torch import load_file

from models.weights.addons.peft_files import peft_weights

TRAIN = "train or convert it as a LoRA"
EMBEDDING = "an embedding of new words; name it in the entry's `embeddings`, or put it into the folder of them"
CHECKPOINT = "a whole checkpoint; make a catalogue entry of it"
KINDS: Mapping[str, str] = {
    ".oft_": f"an OFT; {TRAIN}",
    "oft_blocks": f"an OFT; {TRAIN}",
    "oft_diag": f"an OFT; {TRAIN}",
    ".on_input": f"an (IA)³; {TRAIN}",
    ".a1.weight": f"a GLoRA; {TRAIN}",
    ".dora_scale": "a DoRA in kohya's layout; convert it to diffusers' or peft's, with `lora_magnitude_vector`",
    "bundle_emb.": "a LoRA with embeddings of new words (bundle_emb), a layout that is not read; save the LoRA without "
    "them, and each embedding as a file of its own for `embeddings`",
    "string_to_param": EMBEDDING,
    "emb_params": EMBEDDING,
    "ip_adapter.": "an IP-Adapter; name it in the entry's `ip_adapter`",
    "image_proj.": "an IP-Adapter; name it in the entry's `ip_adapter`",
    "control_model.": "a ControlNet; name it in the entry's `controlnets`",
    "lora_controlnet": "a Control-LoRA; use the whole ControlNet, in the entry's `controlnets`",
    ".query_norm.scale": "a Control-LoRA of FLUX, which changes what the model takes in; it cannot be one request's",
    "first_stage_model.": CHECKPOINT,
    "model.diffusion_model.input_blocks.0.0.weight": CHECKPOINT,
}
"""What a file is that is not read as a LoRA, by a part of its keys, and what to do with it."""
DOWN = (".lora_A.", ".lora_down.", "lora.down.", "lora_linear_layer.down.", "_lora.down.")
"""What the key of each layer's first matrix contains."""


def names_in(file: Path) -> list[str]:
    with safe_open(file, "pt") as tensors:
        return list(tensors.keys())


def unread_kind(names: Iterable[str]) -> str | None:
    """Return what a file with these names is that is not read as a LoRA, or None."""
    return next((kind for part, kind in KINDS.items() if any(part in name for name in names)), None)


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
