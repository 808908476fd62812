"""Tiny Wan 2.1 and 2.2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanAnimatePipeline,
    WanAnimateTransformer3DModel,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel

from tests.tiny.text import tiny_t5_tokenizer, tiny_umt5
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 16
IMAGE_TOKENS = 17
"""Of an image of 32x32 pixels in patches of 8, with one for all of it."""
FLOW_SHIFT = 3.0
TINY_FACE_PX = 16
_TRANSFORMER: dict[str, Any] = {
    "patch_size": (1, 2, 2),
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "text_dim": 32,
    "freq_dim": 32,
    "ffn_dim": 32,
    "rope_max_seq_len": 32,
}


def tiny_wan(folder: Path) -> Path:
    """Save a WanPipeline as of 2.1 into `folder` and return it."""
    torch.manual_seed(0)
    WanPipeline(**_common(), transformer=_transformer()).save_pretrained(folder)
    return folder


def tiny_wan_a14b(folder: Path) -> Path:
    """Save a WanPipeline as of 2.2, with a second transformer for the less noisy steps, into `folder` and return it."""
    torch.manual_seed(0)
    WanPipeline(
        **_common(), transformer=_transformer(), transformer_2=_transformer(), boundary_ratio=0.875
    ).save_pretrained(folder)
    return folder


def tiny_wan_i2v(folder: Path) -> Path:
    """Save a WanImageToVideoPipeline as of 2.1, with an image encoder, into `folder` and return it."""
    return _from_encoded_images(folder)


def tiny_wan_flf2v(folder: Path) -> Path:
    """Save a WanImageToVideoPipeline as of 2.1 FLF2V, which sees two images, into `folder` and return it."""
    return _from_encoded_images(folder, pos_embed_seq_len=2 * IMAGE_TOKENS)


def _from_encoded_images(folder: Path, **config: Any) -> Path:
    torch.manual_seed(0)
    WanImageToVideoPipeline(
        **_common(),
        **_image_encoder(),
        transformer=_transformer(in_channels=2 * LATENT_CHANNELS + 4, image_dim=8, added_kv_proj_dim=24, **config),
    ).save_pretrained(folder)
    return folder


def tiny_wan_i2v_a14b(folder: Path) -> Path:
    """Save a WanImageToVideoPipeline as of 2.2, without an image encoder, into `folder` and return it."""
    torch.manual_seed(0)
    WanImageToVideoPipeline(
        **_common(),
        transformer=_transformer(in_channels=2 * LATENT_CHANNELS + 4),
        transformer_2=_transformer(in_channels=2 * LATENT_CHANNELS + 4),
        boundary_ratio=0.9,
    ).save_pretrained(folder)
    return folder


def tiny_wan_ti2v(folder: Path) -> Path:
    """Save a WanPipeline as of 2.2 5B, with a timestep for each token, into `folder` and return it."""
    torch.manual_seed(0)
    channels = 3 * LATENT_CHANNELS
    vae = _vae(
        z_dim=channels,
        in_channels=12,
        out_channels=12,
        is_residual=True,
        patch_size=2,
        latents_mean=[0.0] * channels,
        latents_std=[1.0] * channels,
        scale_factor_spatial=16,
    )
    WanPipeline(
        **_common(vae),
        transformer=_transformer(in_channels=channels, out_channels=channels),
        expand_timesteps=True,
    ).save_pretrained(folder)
    return folder


def tiny_wan_vace(folder: Path) -> Path:
    """Save a WanVACEPipeline, two of whose layers see the condition, into `folder` and return it."""
    torch.manual_seed(0)
    transformer = WanVACETransformer3DModel(
        **_TRANSFORMER, num_layers=2, vace_layers=[0, 1], vace_in_channels=2 * LATENT_CHANNELS + 64
    )
    WanVACEPipeline(**_common(), transformer=strengthen(transformer)).save_pretrained(folder)
    return folder


def tiny_wan_animate(folder: Path) -> Path:
    """Save a WanAnimatePipeline, which sees faces of 16x16 pixels, into `folder` and return it."""
    torch.manual_seed(0)
    transformer = WanAnimateTransformer3DModel(
        **{**_TRANSFORMER, "in_channels": 2 * LATENT_CHANNELS + 4},
        num_layers=2,
        image_dim=8,
        added_kv_proj_dim=24,
        motion_encoder_channel_sizes={"4": 16, "8": 16, "16": 16},
        motion_encoder_size=TINY_FACE_PX,
        motion_style_dim=8,
        motion_dim=4,
        motion_encoder_dim=16,
        face_encoder_hidden_dim=16,
        face_encoder_num_heads=2,
        inject_face_latents_blocks=2,
    )
    WanAnimatePipeline(**_common(), **_image_encoder(), transformer=strengthen(transformer)).save_pretrained(folder)
    return folder


def _image_encoder() -> dict[str, Any]:
    config = CLIPVisionConfig(
        hidden_size=8, num_hidden_layers=2, num_attention_heads=2, image_size=32, intermediate_size=16, patch_size=8
    )
    return {
        "image_encoder": CLIPVisionModel(config),
        "image_processor": CLIPImageProcessor(crop_size=32, size=32),
    }


def _common(vae: AutoencoderKLWan | None = None) -> dict[str, Any]:
    tokenizer = tiny_t5_tokenizer()
    return {
        "vae": vae or _vae(z_dim=LATENT_CHANNELS),
        "text_encoder": tiny_umt5(tokenizer),
        "tokenizer": tokenizer,
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=FLOW_SHIFT
        ),
    }


def _vae(**config: Any) -> AutoencoderKLWan:
    # Some blocks halve the channels: the norm of a single one is its sign, which would make other pictures of rounding
    # errors around zero.
    vae = AutoencoderKLWan(
        base_dim=6, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True], **config
    )
    return strengthen(vae)


def _transformer(**config: Any) -> WanTransformer3DModel:
    return strengthen(WanTransformer3DModel(**{**_TRANSFORMER, "num_layers": 2, **config}))
