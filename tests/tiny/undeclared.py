"""Tiny pipelines of classes that no family declares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AuraFlowPipeline,
    AuraFlowTransformer2DModel,
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    LatentConsistencyModelPipeline,
    LattePipeline,
    LatteTransformer3DModel,
    LCMScheduler,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    StableDiffusionInstructPix2PixPipeline,
)
from transformers import CLIPTextModel

from tests.tiny.images.stable_diffusion import tiny_unet, tiny_vae
from tests.tiny.text import (
    tiny_gemma2,
    tiny_gemma_tokenizer,
    tiny_t5,
    tiny_t5_tokenizer,
    tiny_text_config,
    tiny_tokenizer,
    tiny_umt5,
)
from tests.tiny.weights import strengthen

PIXART_LIKE: Mapping[str, Any] = {
    "sample_size": 8,
    "patch_size": 2,
    "attention_head_dim": 8,
    "num_attention_heads": 3,
    "caption_channels": 32,
    "in_channels": 4,
    "cross_attention_dim": 24,
    "out_channels": 8,
}
"""What PixArt's and Latte's transformers have in common."""


def _clip() -> dict[str, Any]:
    tokenizer = tiny_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": CLIPTextModel(tiny_text_config(tokenizer)),
        "vae": tiny_vae(64),
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }


def _t5() -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": tiny_t5(tokenizer)}


def _gemma() -> dict[str, Any]:
    tokenizer = tiny_gemma_tokenizer()
    return {"tokenizer": tokenizer, "text_encoder": tiny_gemma2(tokenizer)}


def _pix2pix() -> DiffusionPipeline:
    unet = tiny_unet(in_channels=8, out_channels=4)
    return StableDiffusionInstructPix2PixPipeline(**_clip(), unet=unet, scheduler=EulerAncestralDiscreteScheduler())


def _lcm() -> DiffusionPipeline:
    unet = tiny_unet(time_cond_proj_dim=32)
    return LatentConsistencyModelPipeline(**_clip(), unet=unet, scheduler=LCMScheduler())


def _pixart() -> DiffusionPipeline:
    transformer = PixArtTransformer2DModel(
        num_layers=2,
        **PIXART_LIKE,
    )
    return PixArtSigmaPipeline(
        **_t5(), vae=tiny_vae(64), transformer=strengthen(transformer), scheduler=DPMSolverMultistepScheduler()
    )


def _aura_flow() -> DiffusionPipeline:
    tokenizer = tiny_t5_tokenizer()
    transformer = AuraFlowTransformer2DModel(
        sample_size=8,
        num_mmdit_layers=1,
        num_single_dit_layers=1,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=32,
        pos_embed_max_size=256,
    )
    return AuraFlowPipeline(
        tokenizer=tokenizer,
        text_encoder=tiny_umt5(tokenizer),
        vae=tiny_vae(64),
        transformer=strengthen(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _lumina() -> DiffusionPipeline:
    transformer = Lumina2Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        hidden_size=8,
        num_layers=2,
        num_attention_heads=1,
        num_kv_heads=1,
        multiple_of=16,
        norm_eps=1e-5,
        axes_dim_rope=(4, 2, 2),
        axes_lens=(512, 128, 128),
        cap_feat_dim=32,
    )
    return Lumina2Pipeline(
        **_gemma(),
        vae=tiny_vae(64, shift_factor=0.06),
        transformer=strengthen(transformer),
        scheduler=FlowMatchEulerDiscreteScheduler(),
    )


def _latte() -> DiffusionPipeline:
    transformer = LatteTransformer3DModel(
        num_layers=1,
        **PIXART_LIKE,
        attention_bias=True,
        activation_fn="gelu-approximate",
        num_embeds_ada_norm=1000,
        norm_type="ada_norm_single",
        norm_elementwise_affine=False,
        norm_eps=1e-6,
    )
    return LattePipeline(
        **_t5(), vae=tiny_vae(64), transformer=strengthen(transformer), scheduler=DPMSolverMultistepScheduler()
    )


def _cogvideo() -> DiffusionPipeline:
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=2,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=2,
        text_embed_dim=32,
        num_layers=1,
        sample_width=8,
        sample_height=8,
        sample_frames=9,
        patch_size=2,
        temporal_compression_ratio=4,
        max_text_seq_length=226,
        # As of the 5B model: tables that all samples share.
        use_rotary_positional_embeddings=True,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
        temporal_compression_ratio=4,
    )
    return CogVideoXPipeline(**_t5(), vae=vae, transformer=strengthen(transformer), scheduler=CogVideoXDDIMScheduler())


BUILDERS: Mapping[str, Callable[[], DiffusionPipeline]] = {
    "StableDiffusionInstructPix2PixPipeline": _pix2pix,
    "LatentConsistencyModelPipeline": _lcm,
    "PixArtSigmaPipeline": _pixart,
    "AuraFlowPipeline": _aura_flow,
    "Lumina2Pipeline": _lumina,
    "LattePipeline": _latte,
    "CogVideoXPipeline": _cogvideo,
}


def tiny_undeclared(name: str, folder: Path) -> Path:
    """Save a pipeline of this class into `folder` and return it."""
    torch.manual_seed(0)
    BUILDERS[name]().save_pretrained(folder)
    return folder
