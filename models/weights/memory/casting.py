"""Weights that are stored in 8 bits, and cast layer by layer while they compute."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.hooks.layerwise_casting import (
    _LAYERWISE_CASTING_HOOK,
    DEFAULT_SKIP_MODULES_PATTERN,
    apply_layerwise_casting,
)
from torch import nn

from core.errors import LoadFailed
from models.catalogue.memory.options import Memory


def store(pipeline: DiffusionPipeline, memory: Memory) -> None:
    """Store the weights of an entry's components in the formats of `storage_dtype`. Raises LoadFailed."""
    for name, dtype in memory.storage_dtype.items():
        module = getattr(pipeline, name, None)
        if module is None:
            raise LoadFailed(f"memory.storage_dtype: the pipeline has no {name}")
        store_in(module, getattr(torch, dtype))


def store_in(module: Any, dtype: torch.dtype) -> None:
    """Store the weights of a module's layers in another format, except norms and embeddings."""
    computed_in = module.dtype
    if isinstance(module, ModelMixin):
        module.enable_layerwise_casting(storage_dtype=dtype)
    else:
        # Text encoders: their class says which layers cast their input to their weights' precision, and so must stay.
        # The dtype of the whole is that of its first weights, the embeddings, so these must stay too.
        kept = (*DEFAULT_SKIP_MODULES_PATTERN, *(getattr(module, "_keep_in_fp32_modules", None) or ()))
        kept = (*kept, *(f"^{re.escape(name)}$" for name in _tied_to_embeddings(module)))
        apply_layerwise_casting(module, dtype, computed_in, kept, (nn.Embedding,))
    for layer in cast_layers(module):
        # peft reads the precision for LoRAs here; without it, it would round them to the storage format.
        layer.compute_dtype = computed_in


def _tied_to_embeddings(module: nn.Module) -> Iterator[str]:
    """Yield the names of layers that share an embedding's weights, such as a language model's last."""
    embeddings = {id(layer.weight) for layer in module.modules() if isinstance(layer, nn.Embedding)}
    for name, layer in module.named_modules():
        if not isinstance(layer, nn.Embedding) and any(
            id(weight) in embeddings for weight in layer._parameters.values()
        ):
            yield name


@contextmanager
def kept_stored(modules: Iterable[Any]) -> Iterator[None]:
    """Let modules be moved but not cast as a whole during the block.

    diffusers casts a text encoder when it adds a LoRA to it, which would undo the storage in 8 bits.
    """
    with ExitStack() as changed:
        for module in modules:
            if cast_layers(module):
                module.__dict__["to"] = partial(_moved_only, module)
                changed.callback(module.__dict__.pop, "to")
        yield


def _moved_only(module: nn.Module, device: Any = None, **_: Any) -> nn.Module:
    if isinstance(device, (str, int, torch.device)):
        nn.Module.to(module, device)
    return module


def cast_layers(module: nn.Module) -> list[Any]:
    """Return the layers that are stored in another format than they compute in."""
    hooked: list[Any] = [layer for layer in module.modules() if hasattr(layer, "_diffusers_hook")]
    return [layer for layer in hooked if layer._diffusers_hook.get_hook(_LAYERWISE_CASTING_HOOK)]
