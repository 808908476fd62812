"""Models of real sizes, made on the device from configurations alone; or tiny ones of the same classes."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from benchmarks.gpu.encoders import clip, t5, umt5
from benchmarks.gpu.setup import Setup
from models.catalogue.families import FAMILIES
from models.catalogue.memory.options import Memory
from models.weights.loading import LoadedModel, arrange, upcast_vae

TINY_WIDTH = 32


def sdxl_model(setup: Setup) -> LoadedModel:
    """Stable Diffusion XL: 2.6 billion parameters in the denoiser."""
    dtype = setup.half
    widths = (768, 1280) if setup.full else (TINY_WIDTH, 2 * TINY_WIDTH)
    text_encoder, tokenizer = clip(setup, CLIPTextModel, widths[0], dtype)
    text_encoder_2, tokenizer_2 = clip(setup, CLIPTextModelWithProjection, widths[1], dtype)
    pipeline = StableDiffusionXLPipeline(
        vae=_image_vae(setup, dtype, sample_size=1024, force_upcast=True),
        text_encoder=text_encoder,
        text_encoder_2=text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer_2,
        unet=setup.built(lambda: sdxl_unet(setup.full, *widths), dtype),
        scheduler=EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear"),
        add_watermarker=False,
    )
    return _loaded(setup, "stable-diffusion-xl", pipeline, dtype)


def sdxl_unet(full: bool, width: int, width_2: int) -> UNet2DConditionModel:
    sizes: dict[str, Any] = (
        {
            "block_out_channels": (320, 640, 1280),
            "layers_per_block": 2,
            "attention_head_dim": [5, 10, 20],
            "transformer_layers_per_block": [1, 2, 10],
        }
        if full
        else {
            "block_out_channels": (16, 32, 32),
            "layers_per_block": 1,
            "attention_head_dim": [2, 4, 4],
            "norm_num_groups": 8,
        }
    )
    return UNet2DConditionModel(
        sample_size=128,
        cross_attention_dim=width + width_2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=width_2 + 6 * 256,
        **sizes,
    )


def flux_model(setup: Setup) -> LoadedModel:
    """FLUX.1: 12 billion parameters in the denoiser."""
    dtype = setup.bfloat
    width, joint_width = (768, 4096) if setup.full else (TINY_WIDTH, TINY_WIDTH)
    text_encoder, tokenizer = clip(setup, CLIPTextModel, width, dtype)
    text_encoder_2, tokenizer_2 = t5(setup, joint_width, dtype)
    vae = {"scaling_factor": 0.3611, "shift_factor": 0.1159, "use_quant_conv": False, "use_post_quant_conv": False}
    pipeline = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_image_vae(setup, dtype, latent_channels=16, **vae),
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        text_encoder_2=text_encoder_2,
        tokenizer_2=tokenizer_2,
        transformer=setup.built(lambda: _flux_transformer(setup.full), dtype),
    )
    return _loaded(setup, "flux", pipeline, dtype)


def _flux_transformer(full: bool) -> FluxTransformer2DModel:
    tiny: dict[str, Any] = {
        "num_layers": 1,
        "num_single_layers": 1,
        "attention_head_dim": 16,
        "num_attention_heads": 2,
        "joint_attention_dim": TINY_WIDTH,
        "pooled_projection_dim": TINY_WIDTH,
        "axes_dims_rope": (4, 4, 8),
    }
    return FluxTransformer2DModel(guidance_embeds=True, **({} if full else tiny))


def wan_model(setup: Setup) -> LoadedModel:
    """Wan 2.1 of 1.3 billion parameters; its autoencoder computes in float32."""
    dtype = setup.bfloat
    text_encoder, tokenizer = umt5(setup, 4096 if setup.full else TINY_WIDTH, dtype)
    pipeline = WanPipeline(
        tokenizer=tokenizer,
        text_encoder=text_encoder,
        vae=setup.built(lambda: _wan_vae(setup.full), torch.float32),
        transformer=setup.built(lambda: _wan_transformer(setup.full), dtype),
        scheduler=UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
    )
    return _loaded(setup, "wan", pipeline, dtype)


def _wan_transformer(full: bool) -> WanTransformer3DModel:
    if full:
        return WanTransformer3DModel(num_attention_heads=12, num_layers=30, ffn_dim=8960)
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, num_layers=1, ffn_dim=32, text_dim=TINY_WIDTH, freq_dim=16
    )


def _wan_vae(full: bool) -> AutoencoderKLWan:
    if full:
        return AutoencoderKLWan()
    return AutoencoderKLWan(
        base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
    )


def _image_vae(setup: Setup, dtype: torch.dtype, **config: Any) -> AutoencoderKL:
    channels, groups = ((128, 256, 512, 512), 32) if setup.full else ((8, 8, 16, 16), 4)
    return setup.built(
        lambda: AutoencoderKL(
            block_out_channels=channels,
            norm_num_groups=groups,
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            layers_per_block=2,
            **config,
        ),
        dtype,
    )


def _loaded(setup: Setup, family: str, pipeline: DiffusionPipeline, dtype: torch.dtype) -> LoadedModel:
    spec = FAMILIES[family]
    upcast_vae(pipeline, dtype)
    arrange(spec, pipeline, Memory())
    pipeline.set_progress_bar_config(disable=True)
    return LoadedModel(family, spec, {next(iter(spec.pipelines)): pipeline}, setup.device)
