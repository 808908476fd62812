"""Tiny FLUX.2 klein."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3ForCausalLM

from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4
HIDDEN_SIZE = 16
TEXT_LAYERS = 27
"""The pipeline reads hidden states 9, 18 and 27."""
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}:"


def _tokenizer() -> Qwen2Tokenizer:
    """Return a tokenizer without merges: every byte is a token."""
    tokens = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    return Qwen2Tokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], chat_template=CHAT_TEMPLATE)


def _text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen3ForCausalLM:
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN_SIZE,
        intermediate_size=24,
        num_hidden_layers=TEXT_LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        pad_token_id=tokenizer.pad_token_id,
    )
    return Qwen3ForCausalLM(config).eval()


def _vae() -> AutoencoderKLFlux2:
    """Return an autoencoder that shrinks 8 times, with latents far from zero mean and unit variance."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8, 16, 16),
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=4,
    )
    vae.bn.running_mean.uniform_(-0.5, 0.5)
    vae.bn.running_var.uniform_(0.25, 2.0)
    return vae.eval()


def _save(folder: Path, is_distilled: bool) -> Path:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    transformer = Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * HIDDEN_SIZE,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=False,
    )
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        transformer=strengthen(transformer),
        is_distilled=is_distilled,
    ).save_pretrained(folder)
    return folder


def tiny_flux2_klein(folder: Path) -> Path:
    """Save a Flux2KleinPipeline like the base models, which guide, into `folder` and return it."""
    return _save(folder, is_distilled=False)


def tiny_flux2_klein_distilled(folder: Path) -> Path:
    """Save a Flux2KleinPipeline that ignores guidance into `folder` and return it."""
    return _save(folder, is_distilled=True)
