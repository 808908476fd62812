"""Tiny SANA and SANA-Sprint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaSprintPipeline,
    SanaTransformer2DModel,
    SCMScheduler,
)

from tests.tiny.text import tiny_gemma2, tiny_gemma_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4


def tiny_sana(folder: Path) -> Path:
    """Save a SanaPipeline into `folder` and return it."""
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, algorithm_type="dpmsolver++"
    )
    SanaPipeline(**_models(), scheduler=scheduler).save_pretrained(folder)
    return folder


def tiny_sana_sprint(folder: Path) -> Path:
    """Save a SanaSprintPipeline, guidance distilled, into `folder` and return it."""
    SanaSprintPipeline(**_models(guidance_embeds=True), scheduler=SCMScheduler()).save_pretrained(folder)
    return folder


def _models(**transformer_config: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    tokenizer = tiny_gemma_tokenizer()
    transformer = SanaTransformer2DModel(
        patch_size=1,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=1,
        num_attention_heads=2,
        attention_head_dim=8,
        num_cross_attention_heads=2,
        cross_attention_head_dim=8,
        cross_attention_dim=16,
        caption_channels=32,
        sample_size=2,
        qk_norm="rms_norm_across_heads",
        **transformer_config,
    )
    return {
        "tokenizer": tokenizer,
        "text_encoder": tiny_gemma2(tokenizer),
        "vae": _vae(),
        "transformer": strengthen(transformer),
    }


def _vae() -> AutoencoderDC:
    """Return an autoencoder that shrinks 32 times."""
    types, channels, scales = ("ResBlock",) * 5 + ("EfficientViTBlock",), (8,) * 6, ((),) * 5 + ((5,),)
    vae = AutoencoderDC(
        latent_channels=LATENT_CHANNELS,
        attention_head_dim=4,
        encoder_block_types=types,
        decoder_block_types=types,
        encoder_block_out_channels=channels,
        decoder_block_out_channels=channels,
        encoder_qkv_multiscales=scales,
        decoder_qkv_multiscales=scales,
        encoder_layers_per_block=(1,) * 6,
        decoder_layers_per_block=(1,) * 6,
        downsample_block_type="conv",
        upsample_block_type="interpolate",
        scaling_factor=0.41407,
    )
    return strengthen(vae)
