"""The LoRAs of a linear layer as stacked matrices, so that the samples of a pass get theirs in two batched products."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from models.weights.addons.loras import holds


@dataclass(frozen=True)
class Rows:
    """One LoRA of each sample; of several, one after the other."""

    places: torch.Tensor
    """(B,) of its places in the stacks; the place behind the last one stands for none."""
    scales: torch.Tensor
    """(B, 1, 1)"""


def is_stackable(layer: Any, part: str) -> bool:
    """Whether this adapter is two matrices in this layer, which no offloading moves one by one."""
    if not holds(layer, part):
        return False
    down, up = layer.lora_A[part], layer.lora_B[part]
    return {type(down), type(up)} == {nn.Linear} and up.bias is None and not hasattr(down, "_hf_hook")


class Stack:
    """Owns the matrices; those of peft's own layers become views of them."""

    def __init__(self, layer: Any, parts: Mapping[int, str], places: int) -> None:
        """`parts` are peft adapters of the module by their places, at least one of them stackable in this layer."""
        held = {place: part for place, part in parts.items() if is_stackable(layer, part)}
        rank = max(len(layer.lora_A[part].weight) for part in held.values())
        first = layer.lora_A[next(iter(held.values()))].weight
        self._down = first.new_zeros(places + 1, rank, layer.in_features)
        self._up = first.new_zeros(places + 1, rank, layer.out_features)
        self._ranks: dict[int, int] = {}
        for place, part in held.items():
            self._take(layer, part, place)

    def _take(self, layer: Any, part: str, place: int) -> None:
        down, up = layer.lora_A[part].weight, layer.lora_B[part].weight
        rank = self._ranks[place] = len(down)
        layer.set_scale(part, 1.0)
        self._down[place, :rank] = down
        self._up[place, :rank] = up.T * layer.scaling[part]
        # The layer's own scale is in the matrix now.
        layer.lora_alpha[part], layer.use_rslora[part] = layer.r[part], False
        down.data, up.data = self._down[place, :rank], self._up[place, :rank].T

    def add_one(self, place: int, scale: float, given: torch.Tensor, output: torch.Tensor) -> None:
        """Add to `output`, (..., out), what one LoRA makes of `given`, (..., in)."""
        # Without the zeros behind its own rank: what else is there would choose how it is computed.
        rank = self._ranks[place]
        down, up = self._down[place, :rank], self._up[place, :rank]
        narrow = F.linear(given.to(down.dtype), down).flatten(0, -2)
        flat = output.view(-1, output.shape[-1])
        if flat.dtype is narrow.dtype:
            flat.addmm_(narrow, up, alpha=scale)
        else:
            flat += scale * (narrow @ up)

    def add_rows(self, rows: Rows, given: torch.Tensor, output: torch.Tensor) -> None:
        """Add to `output`, (B, ..., out), what each sample's LoRA makes of `given`, (B, ..., in)."""
        samples = given.to(self._down.dtype).reshape(len(given), -1, given.shape[-1])
        narrow = torch.bmm(samples, self._down[rows.places].mT)
        narrow *= rows.scales
        flat, up = output.view(len(output), -1, output.shape[-1]), self._up[rows.places]
        if flat.dtype is narrow.dtype:
            flat.baddbmm_(narrow, up)
        else:
            flat += torch.bmm(narrow, up)
