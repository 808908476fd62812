"""Lets GLM-Image's pipeline edit images, with passes that several edits share.

The denoiser attends to keys and values of the edited image, (B, S, heads, width) for each layer, which in diffusers it
writes into an object of the request. Here one call returns them, and later calls take them as an argument, so that the
calls of several requests can be merged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from diffusers import GlmImageTransformer2DModel
from diffusers.models.transformers.transformer_glm_image import GlmImageKVCache
from diffusers.utils.accelerate_utils import apply_forward_hook
from transformers import GlmImageForConditionalGeneration

from models.weights.compiling.denoisers import uncompiled

KeysValues = list[tuple[torch.Tensor, torch.Tensor]]
"""By layer."""
IDS = ("prior_token_id", "prior_token_drop")
"""Arguments that the pipeline passes without a batch axis, (S,), for an edited image."""


class GlmImageEditor(GlmImageTransformer2DModel):  # type: ignore[misc]
    """A denoiser that takes the keys and values of edited images, as a list with one item for each sample."""

    def seen(self, hidden_states: torch.Tensor, **arguments: Any) -> KeysValues:
        """Return the keys and values of images, (B, C, h, w)."""
        caches = GlmImageKVCache(self.config.num_layers)
        caches.set_mode("write")
        with uncompiled():
            self(hidden_states=hidden_states, kv_caches=caches, **arguments)
        return [(cache.k_caches[0], cache.v_caches[0]) for cache in caches.caches]


class GlmImageReader(GlmImageForConditionalGeneration):  # type: ignore[misc]
    """A language model whose image features the pipeline can concatenate.

    transformers 5 returns each image's features as (C, h, w); diffusers 0.42 expects tokens, (h * w, C).
    """

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def get_image_features(
        self, pixel_values: torch.Tensor, image_grid_thw: torch.Tensor, images_per_sample: Any = None, **others: Any
    ) -> Any:
        features = super().get_image_features(pixel_values, image_grid_thw, images_per_sample, **others)
        if images_per_sample is None:
            # Only transformers' own code passes `images_per_sample`.
            features.pooler_output = [image.flatten(1).T for image in features.pooler_output]
        return features

    @apply_forward_hook  # type: ignore[untyped-decorator]
    def get_image_tokens(self, hidden_states: torch.Tensor, image_grid_thw: torch.Tensor) -> Any:
        """Return the token ids of features (tokens, C)."""
        images = hidden_states.split(image_grid_thw.prod(dim=-1).tolist())
        grids = image_grid_thw[:, 1:].tolist()
        return super().get_image_tokens([image.T.reshape(-1, *grid) for image, grid in zip(images, grids, strict=True)])


def let_edit(pipeline: Any) -> None:
    """Make a pipeline's components able to do edits."""
    pipeline.transformer.__class__ = GlmImageEditor
    pipeline.transformer.register_forward_pre_hook(_with_caches, with_kwargs=True)
    pipeline.vision_language_encoder.__class__ = GlmImageReader


def _with_caches(
    _denoiser: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    samples: Any = kwargs.get("kv_caches")
    if not isinstance(samples, list):
        return args, kwargs
    caches = GlmImageKVCache(len(samples[0]))
    caches.set_mode("read")
    for number, cache in enumerate(caches.caches):
        cache.k_caches, cache.v_caches = ([sample[number][part] for sample in samples] for part in (0, 1))
    return args, {**kwargs, "kv_caches": caches}


def without_caches(methods: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """Return, given the denoiser's methods, the `forward` that the pipeline calls instead of its own."""
    forward, seen = methods["forward"], methods["seen"]

    def call(*, kv_caches: GlmImageKVCache, attention_kwargs: Any = None, **arguments: Any) -> Any:
        mode = kv_caches[0].mode
        if mode == "write":
            written = seen(**{name: value[None] if name in IDS else value for name, value in arguments.items()})
            for cache, (keys, values) in zip(kv_caches.caches, written, strict=True):
                cache.store(keys, values)
            return None
        kept = [[(cache.k_caches[0], cache.v_caches[0]) for cache in kv_caches.caches]] if mode == "read" else None
        return forward(**arguments, attention_kwargs=attention_kwargs, kv_caches=kept)

    return {"forward": call}
