"""Builds a denoiser without weights, to receive those of another process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
import torch
from accelerate import init_empty_weights
from torch import nn

from runners.parallel.messages import name_of


def weights_of(denoiser: nn.Module) -> tuple[dict[str, Any], list[torch.Tensor]]:
    """Return the shapes and dtypes of parameters and buffers, by name, and the tensors in the same order."""
    tensors = {**dict(denoiser.named_parameters()), **dict(denoiser.named_buffers())}
    return {name: [list(each.shape), name_of(each.dtype)] for name, each in tensors.items()}, list(tensors.values())


def empty_denoiser(
    config: Mapping[str, Any], weights: Mapping[str, Any], device: torch.device
) -> tuple[Any, list[torch.Tensor]]:
    """Build a denoiser from its configuration, and return it with its tensors, in the order of `weights`, to be filled.

    Constants that a denoiser computes in its constructor, such as position tables, are computed here too.
    """
    with init_empty_weights(include_buffers=False):
        denoiser = getattr(diffusers, config["_class_name"]).from_config(config)
    tensors = [_emptied(denoiser, name, described, device) for name, described in weights.items()]
    return denoiser.to(device).eval(), tensors


def _emptied(denoiser: nn.Module, name: str, described: tuple[list[int], str], device: torch.device) -> torch.Tensor:
    shape, dtype = described
    path, _, own = name.rpartition(".")
    module = denoiser.get_submodule(path)
    tensor = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
    if own in module._parameters:
        # Its storage becomes that of the new tensor.
        module._parameters[own] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[own] = tensor
    return tensor
