"""What edits by GLM-Image keep: keys and values of the images that they are of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache


def edited_image(config: Any, tokens: int, empty: Callable[..., torch.Tensor]) -> GlmImageKVCache:
    """Return what the denoiser reads of one image, inside of an object, so that it counts as what the call takes: the
    request keeps it for as long as it denoises.
    """
    caches = GlmImageKVCache(config.num_layers)
    caches.set_mode("read")
    for cache in caches.caches:
        shape = (1, tokens, config.num_attention_heads, config.attention_head_dim)
        cache.k_caches, cache.v_caches = [empty(*shape)], [empty(*shape)]
    return caches
