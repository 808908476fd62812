"""Decoding and encoding in tiles, for one call: for what is larger than the device's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LARGEST_TILE = 64
"""Latents on a side: some autoencoders of images would only tile what is larger than they were trained on."""
_OF_IMAGES = ("tile_latent_min_size", "tile_sample_min_size")


def can_tile(module: Any) -> bool:
    """Whether a module works in tiles when it is asked to, and does not already."""
    # Some have the method of their base class, which then says that they cannot.
    return hasattr(module, "enable_tiling") and getattr(module, "use_tiling", None) is False


def tile_latents(module: Any) -> tuple[int, int]:
    """Return the height and width of a tile."""
    if hasattr(module, "tile_latent_min_size"):
        return module.tile_latent_min_size, module.tile_latent_min_size
    factor = module.spatial_compression_ratio
    return module.tile_sample_min_height // factor, module.tile_sample_min_width // factor


@contextmanager
def tiled(module: Any) -> Iterator[None]:
    """Let an autoencoder work in overlapping tiles during the block, which blends them: a pixel may change by a few
    shades. Nothing else may use it meanwhile.
    """
    before = {name: getattr(module, name) for name in _OF_IMAGES if hasattr(module, name)}
    module.enable_tiling()
    if before:
        latent, sample = before.values()
        smaller = min(1.0, LARGEST_TILE / latent)
        module.tile_latent_min_size, module.tile_sample_min_size = int(latent * smaller), int(sample * smaller)
    try:
        yield
    finally:
        module.disable_tiling()
        for name, value in before.items():
            setattr(module, name, value)
