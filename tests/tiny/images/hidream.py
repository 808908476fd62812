"""Tiny HiDream-I1."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    HiDreamImagePipeline,
    HiDreamImageTransformer2DModel,
    UniPCMultistepScheduler,
)
from transformers import CLIPTextModelWithProjection, CLIPTokenizer, LlamaConfig, LlamaForCausalLM, Qwen2Tokenizer

from tests.tiny.text import tiny_qwen_tokenizer, tiny_t5, tiny_t5_tokenizer, tiny_text_config, tiny_tokenizer
from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4
TEXT_WIDTH = 32
READ_BY_CLIP = 248
"""Tokens for which the published CLIPs have positions."""


def tiny_hidream(folder: Path) -> Path:
    """Save a HiDreamImagePipeline into `folder` and return it."""
    torch.manual_seed(0)
    clip_tokenizer, t5_tokenizer, llama_tokenizer = tiny_tokenizer(), tiny_t5_tokenizer(), tiny_qwen_tokenizer()
    HiDreamImagePipeline(
        scheduler=UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0),
        vae=strengthen(_vae()),
        text_encoder=_clip(clip_tokenizer),
        tokenizer=clip_tokenizer,
        text_encoder_2=_clip(clip_tokenizer),
        tokenizer_2=clip_tokenizer,
        text_encoder_3=tiny_t5(t5_tokenizer),
        tokenizer_3=t5_tokenizer,
        text_encoder_4=_llama(llama_tokenizer),
        tokenizer_4=llama_tokenizer,
        transformer=strengthen(_transformer()),
    ).save_pretrained(folder)
    return folder


def _clip(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    config = tiny_text_config(tokenizer)
    config.max_position_embeddings = READ_BY_CLIP
    return CLIPTextModelWithProjection(config).eval()


def _llama(tokenizer: Qwen2Tokenizer) -> LlamaForCausalLM:
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return LlamaForCausalLM(config).eval()


def _transformer() -> HiDreamImageTransformer2DModel:
    return HiDreamImageTransformer2DModel(
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=8,
        num_attention_heads=2,
        caption_channels=[TEXT_WIDTH, TEXT_WIDTH],
        text_emb_dim=64,
        num_routed_experts=2,
        num_activated_experts=1,
        axes_dims_rope=(4, 2, 2),
        max_resolution=(16, 16),
        llama_layers=[0, 1],
    )


def _vae() -> AutoencoderKL:
    """Return an autoencoder that shrinks 8 times."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 8, 8),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.1,
    )
