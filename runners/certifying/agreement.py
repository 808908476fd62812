"""Whether two outputs are equal up to the rounding of floating-point sums."""

from __future__ import annotations

from typing import Any

import torch

from runners.engine.passes.signatures import tensors_in

ROUNDING = {torch.float32: 1e-4, torch.float16: 2e-2, torch.bfloat16: 6e-2}
"""How far rounding alone may put off an output in a batch of another size, as a share of its largest value."""
NOISE = 4.0
"""How many times more a call may differ when merged with others than when merged with itself."""


def difference(output: Any, other: Any) -> float:
    """Return the largest difference, as a share of the largest value; infinity if the shapes differ."""
    ours, theirs = tensors_in(output), tensors_in(other)
    if len(theirs) < len(ours) or any(one.shape != two.shape for one, two in zip(ours, theirs, strict=False)):
        return float("inf")
    return max(map(_difference, ours, theirs), default=0.0)


def rounding(output: Any) -> float:
    """Return the difference that rounding explains, for the output's dtype with the coarsest rounding."""
    return max((ROUNDING.get(tensor.dtype, 0.0) for tensor in tensors_in(output)), default=0.0)


def _difference(one: torch.Tensor, two: torch.Tensor) -> float:
    if not one.numel():
        return 0.0
    # Masks contain infinities, whose difference is NaN.
    off = torch.where(one == two, 0.0, (one.double() - two.double()).abs()).max().item()
    scale = one.double().abs().where(torch.isfinite(one), 0.0).max().item()
    return float("inf") if off != off else off / (scale or 1.0)
