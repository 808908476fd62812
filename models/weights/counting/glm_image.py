"""What GLM-Image's edits keep: the keys and values of the edited images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache


def edited_image(config: Any, tokens: int, empty: Callable[..., torch.Tensor]) -> GlmImageKVCache:
    """Return the keys and values of one image, inside of an object, so that they count as the call's: the request keeps
    them for as long as it denoises.
    """
    caches = GlmImageKVCache(config.num_layers)
    caches.set_mode("read")
    for cache in caches.caches:
        shape = (1, tokens, config.num_attention_heads, config.attention_head_dim)
        cache.k_caches, cache.v_caches = [empty(*shape)], [empty(*shape)]
    return caches
