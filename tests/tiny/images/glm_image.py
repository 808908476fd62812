"""Tiny GLM-Image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, GlmImagePipeline, GlmImageTransformer2DModel
from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    ByT5Tokenizer,
    GlmImageConfig,
    GlmImageForConditionalGeneration,
    GlmImageImageProcessorPil,
    GlmImageProcessor,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
)

from tests.tiny.weights import strengthen

if TYPE_CHECKING:
    import pytest

LATENT_CHANNELS = 4
IMAGE_TOKENS = 16
TEXT_WIDTH = 16


def shorten_previews(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the language model write one token of the small image before the large one, not 256."""
    fit = GlmImageProcessor._get_target_shape

    def smaller(self: Any, height: int, width: int) -> tuple[int, int, int, int]:
        return (*fit(self, height, width)[:2], 1, 1)

    monkeypatch.setattr(GlmImageProcessor, "_get_target_shape", smaller)


def tiny_glm_image(folder: Path) -> Path:
    """Save a GlmImagePipeline into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = _tokenizer()
    GlmImagePipeline(
        tokenizer=ByT5Tokenizer(),
        processor=GlmImageProcessor(
            # As that of the published checkpoint.
            GlmImageImageProcessorPil(
                min_pixels=512**2, max_pixels=2048**2, patch_size=16, merge_size=1, temporal_patch_size=1
            ),
            tokenizer,
            chat_template=tokenizer.chat_template,
        ),
        text_encoder=T5EncoderModel(
            T5Config(vocab_size=384, d_model=TEXT_WIDTH, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
        ).eval(),
        vision_language_encoder=_language_model(tokenizer),
        vae=strengthen(_vae()),
        transformer=strengthen(_transformer()),
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    ).save_pretrained(folder)
    return folder


def _tokenizer() -> Qwen2Tokenizer:
    """Return a tokenizer without merges: every byte is a token, beside those of chats and images."""
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate([*sorted(ByteLevel.alphabet()), "<|endoftext|>"])},
        bos_token="<|image_start|>",
        extra_special_tokens={
            "image_token": "<|image|>",
            "grid_bos_token": "<sop>",
            "grid_eos_token": "<eop>",
            "image_end_token": "<|image_end|>",
        },
    )
    tokenizer.chat_template = (
        "{% for message in messages %}{% for part in message.content %}{% if part.type == 'image' %}"
        "<|image_start|><|image|><|image_end|>{% else %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}"
    )
    return tokenizer


def _language_model(tokenizer: Qwen2Tokenizer) -> GlmImageForConditionalGeneration:
    config = GlmImageConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 32,
            "intermediate_size": 37,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
            "pad_token_id": 0,
            # All that it writes are tokens of images.
            "vision_vocab_size": IMAGE_TOKENS,
            "eos_token_id": tokenizer.convert_tokens_to_ids("<|image_end|>"),
        },
        vision_config={
            "depth": 1,
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_heads": 2,
            "image_size": 64,
        },
        vq_config={"embed_dim": 8, "num_embeddings": IMAGE_TOKENS, "latent_channels": 16},
        image_token_id=tokenizer.convert_tokens_to_ids("<|image|>"),
        image_start_token_id=tokenizer.convert_tokens_to_ids("<|image_start|>"),
        image_end_token_id=tokenizer.convert_tokens_to_ids("<|image_end|>"),
    )
    return GlmImageForConditionalGeneration(config).eval()


def _transformer() -> GlmImageTransformer2DModel:
    return GlmImageTransformer2DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=2,
        attention_head_dim=16,
        num_attention_heads=2,
        text_embed_dim=TEXT_WIDTH,
        time_embed_dim=16,
        condition_dim=8,
        prior_vq_quantizer_codebook_size=IMAGE_TOKENS,
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
        latents_mean=[-0.2, 0.1, 0.0, 0.3],
        latents_std=[1.5, 0.8, 1.0, 1.2],
    )
