"""Small images of unfinished latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image


class LatentPreview:
    """A linear map from one latent (C values) to one RGB pixel in [-1, 1], fitted once per autoencoder."""

    def __init__(self, weight: Sequence[Sequence[float]], bias: Sequence[float]) -> None:
        self._weight = torch.tensor(weight)  # (C, 3)
        self._bias = torch.tensor(bias)  # (3,)

    def render(self, latents: torch.Tensor) -> Image.Image:
        """Turn latents (C, h, w) into an RGB image of w x h pixels; synchronises with the device."""
        channels_last = latents.float().cpu().permute(1, 2, 0)  # (h, w, C)
        rgb = (channels_last @ self._weight + self._bias).clamp(-1, 1)
        return Image.fromarray(((rgb + 1) * 127.5).round().to(torch.uint8).numpy())
