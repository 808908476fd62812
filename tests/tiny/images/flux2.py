"""Tiny FLUX.2, dev and klein."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
)
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from tests.tiny.weights import strengthen

LATENT_CHANNELS = 4
HIDDEN_SIZE = 16
TEXT_LAYERS = 27
"""Klein's pipeline reads hidden states 9, 18 and 27, dev's 10, 20 and 30."""
MISTRAL_LAYERS = 30
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{% endfor %}:"
PARTS_TEMPLATE = (
    "{% for message in messages %}[{% for part in message.content %}{{ part.text }}{% endfor %}]{% endfor %}"
)


def _tokenizer(chat_template: str = CHAT_TEMPLATE) -> Qwen2Tokenizer:
    """Return a tokenizer without merges: every byte is a token."""
    tokens = ["<|endoftext|>", *sorted(ByteLevel.alphabet())]
    return Qwen2Tokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], chat_template=chat_template)


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


def _transformer(*, guidance_embeds: bool) -> Flux2Transformer2DModel:
    transformer = Flux2Transformer2DModel(
        in_channels=4 * LATENT_CHANNELS,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=3 * HIDDEN_SIZE,
        timestep_guidance_channels=16,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance_embeds,
    )
    return strengthen(transformer)


def _save_klein(folder: Path, *, is_distilled: bool) -> Path:
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    transformer = _transformer(guidance_embeds=False)
    Flux2KleinPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        transformer=transformer,
        is_distilled=is_distilled,
    ).save_pretrained(folder)
    return folder


def tiny_flux2_klein(folder: Path) -> Path:
    """Save a Flux2KleinPipeline like the base models, which guide, into `folder` and return it."""
    return _save_klein(folder, is_distilled=False)


def tiny_flux2_klein_distilled(folder: Path) -> Path:
    """Save a Flux2KleinPipeline that ignores guidance into `folder` and return it."""
    return _save_klein(folder, is_distilled=True)


def tiny_flux2(folder: Path) -> Path:
    """Save a Flux2Pipeline, guidance distilled as in dev, into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = _tokenizer(PARTS_TEMPLATE)
    Flux2Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=_vae(),
        text_encoder=_mistral(tokenizer),
        tokenizer=tokenizer,
        transformer=_transformer(guidance_embeds=True),
    ).save_pretrained(folder)
    # As the published index says, whose processor is more than the pipeline needs.
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "tokenizer": ["transformers", "PixtralProcessor"]}))
    return folder


def _mistral(tokenizer: Qwen2Tokenizer) -> Mistral3ForConditionalGeneration:
    sizes: dict[str, Any] = {
        "hidden_size": HIDDEN_SIZE,
        "intermediate_size": 24,
        "num_attention_heads": 2,
        "head_dim": 8,
    }
    config = Mistral3Config(
        text_config={
            **sizes,
            "model_type": "mistral",
            "vocab_size": len(tokenizer),
            "num_hidden_layers": MISTRAL_LAYERS,
            "num_key_value_heads": 1,
            "pad_token_id": tokenizer.pad_token_id,
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
        },
        vision_config={**sizes, "model_type": "pixtral", "num_hidden_layers": 1, "image_size": 16, "patch_size": 8},
        image_token_index=0,
    )
    return Mistral3ForConditionalGeneration(config).eval()
