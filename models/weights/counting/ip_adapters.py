"""The memory of an IP-Adapter: its image encoder, and what it adds to the denoiser; likewise for Redux."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from diffusers.models.attention_processor import IPAdapterAttnProcessor2_0
from diffusers.models.embeddings import ImageProjection
from diffusers.models.transformers.transformer_flux import FluxIPAdapterAttnProcessor
from torch import nn

from models.catalogue.entry import Entry
from models.weights.counting.modules import architectures, built, dtype_of, weights_bytes

TOKENS = 4
"""Tokens of a reference image, in adapters that see only its embedding, such as those of the catalogue."""


def ip_adapter_bytes(entry: Entry) -> dict[str, int]:
    """Return the bytes of an entry's adapter in the denoiser's precision, by its source; empty without one."""
    if entry.ip_adapter is None:
        return {}
    name = entry.family_spec.denoiser
    dtype, source = dtype_of(entry, name), str(entry.ip_adapter.source)
    if entry.ip_adapter.is_redux:
        return {source: sum(weights_bytes(built(each, dtype)) for each in architectures().redux[source])}
    denoiser = built(architectures().models[entry.id][name], dtype)
    encoder = built(architectures().image_encoders[str(entry.ip_adapter.image_encoder)], dtype)
    with torch.device("meta"):
        added = list(_added(denoiser, encoder.config.projection_dim))
    parameters = sum(each.numel() for module in (encoder, *added) for each in module.parameters())
    return {source: parameters * dtype.itemsize}


def _added(denoiser: Any, embedding: int) -> Iterator[nn.Module]:
    """Yield the modules that diffusers adds (`_convert_ip_adapter_attn_to_diffusers`, `..._image_proj_...`)."""
    config = denoiser.config
    of_flux = "joint_attention_dim" in config
    width = config.joint_attention_dim if of_flux else config.cross_attention_dim
    yield ImageProjection(embedding, width, TOKENS)
    for name in denoiser.attn_processors:
        # Attention that does not look at the prompt gets nothing.
        if name.startswith("single_transformer_blocks") or name.endswith("attn1.processor"):
            continue
        outputs = denoiser.get_submodule(name.removesuffix(".processor")).to_q.out_features
        yield (FluxIPAdapterAttnProcessor if of_flux else IPAdapterAttnProcessor2_0)(outputs, width, (TOKENS,))
