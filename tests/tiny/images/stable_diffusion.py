"""Tiny Stable Diffusion 1.x, XL and 3."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLImg2ImgPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.tiny.text import tiny_t5, tiny_t5_tokenizer, tiny_text_config, tiny_tokenizer

_BETAS = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
}


def tiny_vae(sample_size_px: int, latent_channels: int = 4, **config: Any) -> AutoencoderKL:
    """Return an autoencoder that shrinks 8 times."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=latent_channels,
        norm_num_groups=4,
        sample_size=sample_size_px,
        **config,
    )


def certain(vae: AutoencoderKL) -> AutoencoderKL:
    """Let an autoencoder know an image almost exactly, as trained ones do; return it.

    SD3's pipeline for ControlNets draws from what it knows, and has no seed for that.
    """
    moments = vae.encoder.conv_out
    with torch.no_grad():
        for values, uncertain in ((moments.weight, 0.0), (moments.bias, -30.0)):
            values[len(values) // 2 :] = uncertain
    return vae


def tiny_unet(**config: Any) -> UNet2DConditionModel:
    """Return a UNet for 64x64 pictures."""
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=4,
        cross_attention_dim=32,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        **config,
    )


def tiny_stable_diffusion(folder: Path) -> Path:
    """Save a StableDiffusionPipeline for 64x64 pictures into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    unet = tiny_unet()
    StableDiffusionPipeline(
        vae=tiny_vae(64),
        text_encoder=CLIPTextModel(tiny_text_config(tokenizer)),
        tokenizer=tokenizer,
        unet=unet,
        scheduler=DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder)
    return folder


def tiny_stable_diffusion_xl(folder: Path) -> Path:
    """Save a StableDiffusionXLPipeline for 64x64 pictures into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    text_config = tiny_text_config(tokenizer)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(16, 32),
        layers_per_block=1,
        norm_num_groups=8,
        attention_head_dim=(2, 4),
        cross_attention_dim=64,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
    )
    StableDiffusionXLPipeline(
        vae=tiny_vae(64),
        text_encoder=CLIPTextModel(text_config),
        text_encoder_2=CLIPTextModelWithProjection(text_config),
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=unet,
        scheduler=EulerDiscreteScheduler(**_BETAS),
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def tiny_refiner(folder: Path) -> Path:
    """Save a StableDiffusionXLImg2ImgPipeline with the second text encoder alone into `folder` and return it."""
    whole = StableDiffusionXLPipeline.from_pretrained(tiny_stable_diffusion_xl(folder))
    config = dict(whole.unet.config) | {"cross_attention_dim": 32, "projection_class_embeddings_input_dim": 32 + 5 * 8}
    torch.manual_seed(0)
    StableDiffusionXLImg2ImgPipeline(
        vae=whole.vae,
        text_encoder=None,
        text_encoder_2=whole.text_encoder_2,
        tokenizer=None,
        tokenizer_2=whole.tokenizer_2,
        unet=UNet2DConditionModel(**{name: value for name, value in config.items() if not name.startswith("_")}),
        scheduler=whole.scheduler,
        requires_aesthetics_score=True,
        add_watermarker=False,
    ).save_pretrained(folder)
    return folder


def tiny_stable_diffusion_3(folder: Path, latent_channels: int = 16, *, t5: bool = True) -> Path:
    """Save a StableDiffusion3Pipeline for 64x64 pictures into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer, t5_tokenizer = tiny_tokenizer(), tiny_t5_tokenizer()
    text_config = tiny_text_config(tokenizer)
    transformer = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=latent_channels,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=32,
        caption_projection_dim=32,
        pooled_projection_dim=64,
        out_channels=latent_channels,
        pos_embed_max_size=16,
    )
    vae = tiny_vae(64, latent_channels, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False)
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=certain(vae),
        text_encoder=CLIPTextModelWithProjection(text_config),
        tokenizer=tokenizer,
        text_encoder_2=CLIPTextModelWithProjection(text_config),
        tokenizer_2=tokenizer,
        text_encoder_3=tiny_t5(t5_tokenizer) if t5 else None,
        tokenizer_3=t5_tokenizer if t5 else None,
    ).save_pretrained(folder)
    return folder
