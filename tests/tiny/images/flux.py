"""Tiny FLUX.1: dev, schnell, Fill and Kontext."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxKontextPipeline,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextModel

from tests.tiny.images.stable_diffusion import tiny_vae
from tests.tiny.text import tiny_t5, tiny_t5_tokenizer, tiny_text_config, tiny_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4
PACKED_CHANNELS = 4 * LATENT_CHANNELS
PACKED_MASK_CHANNELS = 4 * 8 * 8
"""The mask keeps its pixels: 8x8 of them become the channels of a latent."""


def _components(in_channels: int = PACKED_CHANNELS, guidance_embeds: bool = True) -> dict[str, Any]:
    """Return what a pipeline for 64x64 pictures is made of, guidance distilled as in dev."""
    torch.manual_seed(0)
    tokenizer, t5_tokenizer = tiny_tokenizer(), tiny_t5_tokenizer()
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=in_channels,
        out_channels=PACKED_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        guidance_embeds=guidance_embeds,
        axes_dims_rope=(4, 4, 8),
    )
    return {
        "scheduler": FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        "vae": tiny_vae(64, LATENT_CHANNELS, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        "text_encoder": CLIPTextModel(tiny_text_config(tokenizer)),
        "tokenizer": tokenizer,
        "text_encoder_2": tiny_t5(t5_tokenizer),
        "tokenizer_2": t5_tokenizer,
        "transformer": strengthen(transformer),
    }


def tiny_flux(folder: Path) -> Path:
    """Save a FluxPipeline like dev's into `folder` and return it."""
    FluxPipeline(**_components()).save_pretrained(folder)
    return folder


def tiny_flux_schnell(folder: Path) -> Path:
    """Save a FluxPipeline without guidance into `folder` and return it."""
    FluxPipeline(**_components(guidance_embeds=False)).save_pretrained(folder)
    return folder


def tiny_flux_fill(folder: Path) -> Path:
    """Save a FluxFillPipeline, which also sees the masked image and the mask, into `folder` and return it."""
    FluxFillPipeline(**_components(2 * PACKED_CHANNELS + PACKED_MASK_CHANNELS)).save_pretrained(folder)
    return folder


def tiny_flux_kontext(folder: Path) -> Path:
    """Save a FluxKontextPipeline into `folder` and return it."""
    FluxKontextPipeline(**_components()).save_pretrained(folder)
    return folder
