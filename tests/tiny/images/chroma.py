"""Tiny Chroma."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ChromaPipeline, ChromaTransformer2DModel, FlowMatchEulerDiscreteScheduler

from tests.tiny.images.stable_diffusion import tiny_vae
from tests.tiny.text import tiny_t5, tiny_t5_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4


def tiny_chroma(folder: Path) -> Path:
    """Save a ChromaPipeline into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_t5_tokenizer()
    transformer = ChromaTransformer2DModel(
        patch_size=1,
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
        approximator_num_channels=16,
    )
    ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(),
        vae=tiny_vae(64, LATENT_CHANNELS, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False),
        text_encoder=tiny_t5(tokenizer),
        tokenizer=tokenizer,
        transformer=strengthen(transformer),
    ).save_pretrained(folder)
    return folder
