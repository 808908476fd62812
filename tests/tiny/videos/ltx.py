"""Tiny LTX-Video."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXConditionPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)

from tests.tiny.text import tiny_t5, tiny_t5_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 8


def tiny_ltx(folder: Path) -> Path:
    """Save an LTXPipeline into `folder` and return it; like the real one, its autoencoder shrinks 8 x 32 x 32 times."""
    torch.manual_seed(0)
    LTXPipeline(**_models(), scheduler=stretched_scheduler()).save_pretrained(folder)
    return folder


def stretched_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """Return the sampler of all models of this kind that are not distilled."""
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
        shift_terminal=0.1,
    )


def tiny_ltx_distilled(folder: Path) -> Path:
    """Save an LTXConditionPipeline, whose decoder denoises a little too, into `folder` and return it."""
    torch.manual_seed(0)
    models = _models(timestep_conditioning=True)
    LTXConditionPipeline(**models, scheduler=FlowMatchEulerDiscreteScheduler()).save_pretrained(folder)
    return folder


def _models(**vae_config: Any) -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
    models: dict[str, Any] = {
        "transformer": LTXVideoTransformer3DModel(
            in_channels=LATENT_CHANNELS,
            out_channels=LATENT_CHANNELS,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            num_layers=2,
            caption_channels=32,
        ),
        "vae": AutoencoderKLLTXVideo(
            latent_channels=LATENT_CHANNELS,
            block_out_channels=(8, 8, 8, 8),
            decoder_block_out_channels=(8, 8, 8, 8),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
            **vae_config,
        ),
        "text_encoder": tiny_t5(tokenizer),
        "tokenizer": tokenizer,
    }
    for name in ("transformer", "vae"):
        strengthen(models[name])
    return models
