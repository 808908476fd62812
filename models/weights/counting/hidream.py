"""A pass of HiDream-I1 that can be traced without values."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch


def hidream_pass(denoiser: Any, **arguments: Any) -> Any:
    """Do what `forward` does, but send equally many tokens to each expert, since the real routing depends on values."""
    for module in denoiser.modules():
        if hasattr(module, "moe_infer"):
            module.moe_infer = partial(_evenly, module)
    # The sizes of the images would be read from values too.
    denoiser.unpatchify = lambda tokens, _sizes, _training: tokens
    return denoiser(**arguments)


def _evenly(layer: Any, tokens: torch.Tensor, indices: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Return the experts' output for tokens, (S, C), each expert computing an equal share."""
    share = len(indices) // len(layer.experts)
    found = torch.zeros_like(tokens)
    for expert in layer.experts:
        places = torch.empty(share, dtype=torch.long)
        output = expert(tokens[places])
        output.mul_(weights[places])
        found.scatter_reduce_(0, places.view(-1, 1).repeat(1, tokens.shape[-1]), output, reduce="sum")
    return found
