"""Super-resolution models of a few kilobytes: Real-ESRGAN's compact architecture with weights of our choice."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

FEATURES = 8
# Not `importorskip`: by itself it cannot be imported without torchvision.
NEEDS_SPANDREL = pytest.mark.skipif(
    find_spec("spandrel") is None,
    reason="needs the extra upscale: pip install --no-deps -r constraints-upscale.txt",
)


def compact(scale: int, seed: int | None = None) -> dict[str, Tensor]:
    """Return the tensors of a model that makes a square of every pixel, and by a `seed` adds a little to that.

    It sees three pixels in every direction.
    """
    shapes = {
        "body.0": (FEATURES, 3, 3, 3),
        "body.2": (FEATURES, FEATURES, 3, 3),
        "body.4": (3 * scale**2, FEATURES, 3, 3),
    }
    random = torch.Generator().manual_seed(seed or 0)
    strength = 0.0 if seed is None else 0.1
    state = {f"{name}.weight": strength * torch.randn(shape, generator=random) for name, shape in shapes.items()}
    state |= {f"{name}.bias": torch.zeros(shape[0]) for name, shape in shapes.items()}
    return state | {f"body.{place}.weight": torch.full((FEATURES,), 0.25) for place in (1, 3)}
