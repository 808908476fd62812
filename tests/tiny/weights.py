"""Weights that let prompts and pictures through."""

from __future__ import annotations

from typing import TypeVar

import torch

Module = TypeVar("Module", bound=torch.nn.Module)


def strengthen(module: Module) -> Module:
    """Draw new weights for its layers, large enough to pass a signal on; return the module itself.

    With PyTorch's own, small layers forget what they are given: all prompts draw the same picture, and parity between
    two pictures means nothing.
    """
    for layer in module.modules():
        if isinstance(layer, torch.nn.Linear | torch.nn.Conv2d | torch.nn.Conv3d):
            # A single frame meets one of those in which a causal convolution looks at time.
            frames = layer.kernel_size[0] if isinstance(layer, torch.nn.Conv3d) else 1
            torch.nn.init.normal_(layer.weight, std=(frames / layer.weight[0].numel()) ** 0.5)
    return module
