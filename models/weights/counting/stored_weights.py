"""Measures weights under the options of `memory`, by applying these to modules without data."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, pairwise
from typing import Any

import torch
from diffusers.hooks.group_offloading import _GROUP_OFFLOADING
from torch import nn
from transformers import PreTrainedModel
from transformers.quantizers.base import HfQuantizer
from transformers.quantizers.quantizers_utils import should_convert_module

from models.catalogue.families import TEXT_ENCODERS
from models.weights.counting.modules import weights_bytes
from models.weights.memory.casting import store_in
from models.weights.memory.offloading import group_blocks, group_layers

BLOCK = 64
"""The number of weights that share one scale in bitsandbytes' 4-bit format."""
SCALE_BYTES = 4


def quantized_bytes(module: nn.Module, bits: int) -> int:
    """Return the bytes of a module whose linear layers are quantized to `bits`, with a scale for each row in 8 bits,
    and for each block in 4. Layers that quantizers skip count in full.
    """
    saved = 0
    for layer in _quantizable(module):
        weight = layer.weight
        scales = len(weight) if bits == 8 else -(-weight.numel() // BLOCK)
        saved += weight.nbytes - weight.numel() * bits // 8 - scales * SCALE_BYTES
    return weights_bytes(module) - saved


def _quantizable(module: Any) -> Iterator[nn.Linear]:
    """Yield the layers that the quantizers of diffusers and transformers convert: not those kept in float32, such as
    T5's `wo`, nor a language model's last layer or layers tied to an embedding.
    """
    kept = list(getattr(module, "_keep_in_fp32_modules", None) or ())
    is_text = isinstance(module, PreTrainedModel)
    left = HfQuantizer.get_modules_to_not_convert(module, None, kept) if is_text else kept
    for name, layer in module.named_modules():
        stays = not should_convert_module(name, left) if is_text else bool({*left} & {*name.split(".")})
        if isinstance(layer, nn.Linear) and not stays:
            yield layer


def cast_bytes(module: Any, dtype: torch.dtype = torch.float8_e4m3fn) -> int:
    """Store a module in 8 bits and return its bytes."""
    store_in(module, dtype)
    return weights_bytes(module)


def grouped_bytes(name: str, module: Any) -> int:
    """Return the most bytes of a module that are on the device at once: two consecutive groups, and what stays.

    `name` is the component's name. The module is left with hooks.
    """
    group = group_layers if name in TEXT_ENCODERS else group_blocks
    group(module, torch.device("cpu"), waiting="meta")
    hooks = [(each, each._diffusers_hook.get_hook(_GROUP_OFFLOADING)) for each in module.modules() if _is_hooked(each)]
    groups = dict.fromkeys(hook.group for _, hook in hooks)
    # The module's own parameters stay while its layers come and go.
    staying = [each for each in groups if each.onload_leader is module or not each.modules]
    coming = [_bytes(each) for each in groups if each not in staying]
    return sum(map(_bytes, staying)) + max((one + other for one, other in pairwise(coming)), default=sum(coming))


def _is_hooked(module: Any) -> bool:
    return hasattr(module, "_diffusers_hook") and module._diffusers_hook.get_hook(_GROUP_OFFLOADING) is not None


def _bytes(group: Any) -> int:
    weights = chain(group.parameters, group.buffers, *(module.parameters() for module in group.modules))
    return sum(weight.nbytes for weight in {id(each): each for each in weights}.values())
