"""The LoRAs of a linear layer as stacked matrices, applied to a pass's samples in two batched products."""

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
    """One LoRA of each sample; samples with several LoRAs need several rounds."""

    places: torch.Tensor
    """(B,), places in the stacks; the place after the last one means no LoRA."""
    scales: torch.Tensor
    """(B, 1, 1)"""


def is_stackable(layer: Any, part: str) -> bool:
    """Whether the adapter is two plain matrices in this layer, which offloading does not move one by one."""
    if not holds(layer, part):
        return False
    down, up = layer.lora_A[part], layer.lora_B[part]
    return {type(down), type(up)} == {nn.Linear} and up.bias is None and not hasattr(down, "_hf_hook")


class Stack:
    """Owns the stacked matrices, of which those in peft's layers become views."""

    def __init__(self, layer: Any, places: Mapping[str, int]) -> None:
        """`places` are those of all of the module's peft adapters, of which the layer may have only some."""
        self._places = {part: place for part, place in places.items() if is_stackable(layer, part)}
        self._ranks = {part: len(layer.lora_A[part].weight) for part in self._places}
        if self._places:
            rank, first = max(self._ranks.values()), layer.lora_A[next(iter(self._places))].weight
            self._down = first.new_zeros(len(places) + 1, rank, layer.in_features)
            self._up = first.new_zeros(len(places) + 1, rank, layer.out_features)
        for part in self._places:
            self._take(layer, part)

    def __contains__(self, part: str) -> bool:
        return part in self._places

    def _take(self, layer: Any, part: str) -> None:
        down, up = layer.lora_A[part].weight, layer.lora_B[part].weight
        layer.set_scale(part, 1.0)
        own_down, own_up = self._matrices(part)
        own_down.copy_(down)
        own_up.copy_(up.T * layer.scaling[part])
        # The layer's own scale is now part of the matrix.
        layer.lora_alpha[part], layer.use_rslora[part] = layer.r[part], False
        down.data, up.data = own_down, own_up.T

    def _matrices(self, part: str) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (rank, in) and (rank, out), without the padding beyond the LoRA's own rank."""
        place, rank = self._places[part], self._ranks[part]
        return self._down[place, :rank], self._up[place, :rank]

    def add_one(self, part: str, scale: float, given: torch.Tensor, output: torch.Tensor) -> None:
        """Add to `output`, (..., out), one LoRA's output for `given`, (..., in)."""
        # At its own rank, so that other resident LoRAs do not affect the arithmetic.
        down, up = self._matrices(part)
        narrow = F.linear(given.to(down.dtype), down).flatten(0, -2)
        flat = output.view(-1, output.shape[-1])
        if flat.dtype is narrow.dtype:
            flat.addmm_(narrow, up, alpha=scale)
        else:
            flat += scale * (narrow @ up)

    def add_rows(self, rows: Rows, given: torch.Tensor, output: torch.Tensor) -> None:
        """Add to `output`, (B, ..., out), the output of each sample's LoRA for `given`, (B, ..., in)."""
        samples = given.to(self._down.dtype).reshape(len(given), -1, given.shape[-1])
        narrow = torch.bmm(samples, self._down[rows.places].mT)
        narrow *= rows.scales
        flat, up = output.view(len(output), -1, output.shape[-1]), self._up[rows.places]
        if flat.dtype is narrow.dtype:
            flat.baddbmm_(narrow, up)
        else:
            flat += torch.bmm(narrow, up)
