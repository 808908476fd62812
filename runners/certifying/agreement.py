"""Whether two outputs are the same, but for how floating-point sums are rounded."""

from __future__ import annotations

from typing import Any

import torch

from runners.engine.passes.signatures import tensors_in

ROUNDING = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 6e-2}
"""How far a batch of another size may be off by rounding alone, as a share of an output's largest value."""
NOISE = 4.0
"""How much more than a call that shares a pass with itself may differ one that shares it with others."""


def difference(output: Any, other: Any) -> float:
    """Return the largest difference, as a share of the largest value; infinity for outputs of other shapes."""
    ours, theirs = tensors_in(output), tensors_in(other)
    if len(theirs) < len(ours) or any(one.shape != two.shape for one, two in zip(ours, theirs, strict=False)):
        return float("inf")
    return max(map(_difference, ours, theirs), default=0.0)


def rounding(output: Any) -> float:
    """Return the difference that rounding explains, in the widest of its dtypes."""
    return max((ROUNDING.get(tensor.dtype, 0.0) for tensor in tensors_in(output)), default=0.0)


def _difference(one: torch.Tensor, two: torch.Tensor) -> float:
    if not one.numel():
        return 0.0
    # Masks have infinities, whose difference is no number.
    off = torch.where(one == two, 0.0, (one.double() - two.double()).abs()).max().item()
    scale = one.double().abs().where(torch.isfinite(one), 0.0).max().item()
    return float("inf") if off != off else off / (scale or 1.0)
