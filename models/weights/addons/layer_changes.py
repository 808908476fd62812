"""What LoRAs and their relatives add to one layer: the product of two matrices, a LoHa, a LoKr, or whole weights.

Each stands in for a LoRA's two matrices in peft's layers, so that all kinds share passes and are scaled alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.nn import functional

Tensors = Mapping[str, torch.Tensor]
OutputRows = slice | list[int]
"""The outputs of a file's layer that belong to one layer of the pipeline; one layer of a file may cover several."""
CONVOLVE: Mapping[type[nn.Module], Callable[..., torch.Tensor]] = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
}


class LayerChange(nn.Module):
    """Adds `delta()` to a layer's weight, and maybe a bias; `forward` returns what that adds to the layer's output."""

    def __init__(self, weight: torch.Tensor) -> None:
        """`weight` is any of the parameters; peft reads its dtype."""
        super().__init__()
        self.weight = _parameter(weight)
        self.bias: nn.Parameter | None = None
        self._rows: OutputRows = slice(None)
        self._layer: tuple[Any, ...] = ()

    def of(self, layer: Any, rows: OutputRows, bias: torch.Tensor | None) -> LayerChange:
        """Bind the change to a layer, which takes these rows of its outputs."""
        # In a tuple, since a plain attribute would register the layer as a submodule.
        self._layer, self._rows = (layer,), rows
        self.bias = None if bias is None else _parameter(bias[rows])
        return self

    def raw(self) -> torch.Tensor:
        """Return the change, (outputs, all inputs of one)."""
        return self.weight

    def delta(self) -> torch.Tensor:
        """Return the change in the shape of the layer's weight."""
        shape: torch.Size = self._layer[0].weight.shape
        return self.raw().reshape(-1, *shape[1:])[self._rows]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        layer = self._layer[0]
        convolve = CONVOLVE.get(type(layer))
        if convolve is None:
            return functional.linear(x, self.delta(), self.bias)
        added: torch.Tensor = convolve(
            x, self.delta(), self.bias, layer.stride, layer.padding, layer.dilation, layer.groups
        )
        return added


class Hadamard(LayerChange):
    """A LoHa: the element-wise product of two products of two matrices (FedPara, arXiv 2108.06098)."""

    def __init__(self, w1_a: torch.Tensor, w1_b: torch.Tensor, w2_a: torch.Tensor, w2_b: torch.Tensor) -> None:
        super().__init__(w1_a)
        self.w1_b, self.w2_a, self.w2_b = _parameter(w1_b), _parameter(w2_a), _parameter(w2_b)

    def raw(self) -> torch.Tensor:
        return (self.weight @ self.w1_b) * (self.w2_a @ self.w2_b)


class Kronecker(LayerChange):
    """A LoKr: the Kronecker product of a small matrix and a large one."""

    def __init__(self, small: torch.Tensor, large: torch.Tensor) -> None:
        super().__init__(large)
        self.small = _parameter(small)

    def raw(self) -> torch.Tensor:
        small = self.small.reshape(*self.small.shape, *[1] * (self.weight.ndim - 2))
        return torch.kron(small, self.weight)


def _parameter(tensor: torch.Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.clone(), requires_grad=False)


@dataclass(frozen=True)
class Matrices:
    """A LoRA's two matrices."""

    up: torch.Tensor
    down: torch.Tensor

    def of(self, layer: Any, rows: OutputRows, bias: torch.Tensor | None) -> tuple[nn.Module, nn.Module]:
        """Return peft's two modules for a layer, which takes these rows of the outputs."""
        up, rank = self.up[rows], len(self.down)
        bias = None if bias is None else bias[rows]
        kind = type(layer)
        if kind not in CONVOLVE:
            first = nn.Linear(layer.in_features, rank, bias=False)
            second = nn.Linear(rank, len(up), bias=bias is not None)
        else:
            as_is = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
            first = kind(layer.in_channels, rank, layer.kernel_size, **as_is, bias=False)
            second = kind(rank, len(up), 1, bias=bias is not None)
        first.weight = _parameter(self.down.reshape(first.weight.shape))
        second.weight = _parameter(up.reshape(second.weight.shape))
        if bias is not None:
            second.bias = _parameter(bias)
        return first, second


@dataclass(frozen=True)
class Read:
    """A file's change of one layer."""

    change: Callable[[], LayerChange] | Matrices | None
    """The change, or a function that makes it; None if only the bias changes."""
    bias: torch.Tensor | None = None
    outputs: int = 0

    def of(self, layer: Any, rows: OutputRows) -> tuple[nn.Module, nn.Module]:
        """Return the two modules that replace peft's matrices for a layer, which takes these rows of the outputs."""
        if isinstance(self.change, Matrices):
            return self.change.of(layer, rows, self.bias)
        change = self.change() if self.change else LayerChange(torch.zeros(self.outputs, layer.weight[0].numel()))
        return change.of(layer, rows, self.bias), nn.Identity()

    @property
    def is_nothing(self) -> bool:
        """Whether it has no effect: some programs write zeros for layers that were not trained."""
        parts = [self.change().raw() if callable(self.change) else None, self.bias]
        return not isinstance(self.change, Matrices) and not any(part.any() for part in parts if part is not None)


def read_change(tensors: Tensors) -> Read:
    """Read one layer's tensors, by the ends of their names. Raises KeyError or ValueError if one is missing."""
    read = _weight(tensors)
    bias = tensors.get("diff_b", read.bias)
    return replace(read, bias=bias, outputs=read.outputs or (0 if bias is None else len(bias)))


def _weight(tensors: Tensors) -> Read:
    if "diff" in tensors:
        return Read(lambda: LayerChange(tensors["diff"]), outputs=len(tensors["diff"]))
    if any(name.startswith("hada_") for name in tensors):
        return _loha(tensors)
    if any(name.startswith("lokr_") for name in tensors):
        return _lokr(tensors)
    if any(name.startswith("lora_") for name in tensors):
        return _lora(tensors)
    return Read(None)


def _lora(tensors: Tensors) -> Read:
    down = tensors.get("lora_down.weight", tensors.get("lora_A.weight"))
    up = tensors.get("lora_up.weight", tensors.get("lora_B.weight"))
    if up is None or down is None:
        raise ValueError("a LoRA without one of its two matrices")
    up = up * _scale(tensors, len(down))
    if (middle := tensors.get("lora_mid.weight")) is not None:
        whole = torch.einsum("nmkl,in,mj->ijkl", middle, up.flatten(1), down.flatten(1))
        return Read(lambda: LayerChange(whole), outputs=len(up))
    return Read(Matrices(up, down), tensors.get("lora_B.bias"), len(up))


def _loha(tensors: Tensors) -> Read:
    first, second = ((tensors[f"hada_w{n}_a"], tensors[f"hada_w{n}_b"]) for n in (1, 2))
    scale = _scale(tensors, len(first[1]))
    if "hada_t1" in tensors:
        one, other = (_tucker(tensors[f"hada_t{n}"], *w) for n, w in ((1, first), (2, second)))
        whole = one * other * scale
        return Read(lambda: LayerChange(whole), outputs=len(whole))
    return Read(lambda: Hadamard(first[0] * scale, first[1], *second), outputs=len(first[0]))


def _tucker(core: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """LyCORIS' (r, r, k, k) core with (r, outputs) and (r, inputs)."""
    return torch.einsum("ijkl,jr,ip->prkl", core, b, a)


def _lokr(tensors: Tensors) -> Read:
    small, of_small = _factor(tensors, "lokr_w1")
    large, of_large = _factor(tensors, "lokr_w2")
    rank = of_large or of_small
    # No scaling if neither factor is decomposed.
    small = small * (_scale(tensors, rank) if rank else 1.0)
    return Read(lambda: Kronecker(small, large), outputs=len(small) * len(large))


def _factor(tensors: Tensors, name: str) -> tuple[torch.Tensor, int | None]:
    """Return a factor, and its rank if it is stored as a product of two matrices."""
    if name in tensors:
        return tensors[name], None
    a, b = tensors[f"{name}_a"], tensors[f"{name}_b"]
    core = tensors.get("lokr_t2") if name == "lokr_w2" else None
    if core is not None:
        return torch.einsum("ijkl,ip,jr->prkl", core, a, b), len(b)
    return (a @ b.flatten(1)).reshape(len(a), *b.shape[1:]), len(b)


def _scale(tensors: Tensors, rank: int) -> float:
    alpha = float(tensors["alpha"]) if "alpha" in tensors else float(rank)
    if not math.isfinite(alpha):
        raise ValueError("an alpha that is no number")
    return alpha / rank
