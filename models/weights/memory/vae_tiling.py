"""Decoding and encoding in tiles, for a single call that does not fit into the device's memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

LARGEST_TILE = 64
"""Latents on a side: by default, some image autoencoders tile only what is larger than their training size."""
_OF_IMAGES = ("tile_latent_min_size", "tile_sample_min_size")


def can_tile(module: Any) -> bool:
    """Whether a module supports tiling and does not use it already."""
    # `enable_tiling` alone is not enough: some inherit it from a base class, where it only raises.
    return hasattr(module, "enable_tiling") and getattr(module, "use_tiling", None) is False


def tile_latents(module: Any) -> tuple[int, int]:
    """Return the height and width of a tile."""
    if hasattr(module, "tile_latent_min_size"):
        return module.tile_latent_min_size, module.tile_latent_min_size
    factor = module.spatial_compression_ratio
    return module.tile_sample_min_height // factor, module.tile_sample_min_width // factor


@contextmanager
def tiled(module: Any) -> Iterator[None]:
    """Let an autoencoder work in overlapping, blended tiles during the block, which may change pixels by a few shades.

    Nothing else may use it meanwhile.
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
