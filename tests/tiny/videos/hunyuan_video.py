"""Tiny HunyuanVideo 1.5."""

from __future__ import annotations

import inspect
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
)
from transformers import (
    ByT5Tokenizer,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
)

from tests.tiny.text import tiny_qwen_tokenizer
from tests.tiny.weights import strengthen

if TYPE_CHECKING:
    import pytest

LATENT_CHANNELS = 4
TEXT_WIDTH = 16


def shorten_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pipeline read 256 tokens of a prompt, not 1000, and leave room for 8 of an image, not 729."""
    make = HunyuanVideo15Pipeline.__init__

    @wraps(make)
    def shorter(self: Any, *args: Any, **kwargs: Any) -> None:
        make(self, *args, **kwargs)
        self.tokenizer_max_length, self.vision_num_semantic_tokens = 256, 8

    monkeypatch.setattr(HunyuanVideo15Pipeline, "__init__", shorter)


def tiny_hunyuan_video(folder: Path) -> Path:
    """Save a HunyuanVideo15Pipeline into `folder` and return it."""
    torch.manual_seed(0)
    tokenizer = tiny_qwen_tokenizer()
    # Letter by letter, the system message alone would fill it.
    encode = inspect.signature(HunyuanVideo15Pipeline._get_mllm_prompt_embeds)
    tokenizer.add_tokens([" " * 8, *sorted(set(encode.parameters["system_message"].default.split()))])
    HunyuanVideo15Pipeline(
        text_encoder=_text_encoder(tokenizer),
        tokenizer=tokenizer,
        text_encoder_2=T5EncoderModel(
            T5Config(vocab_size=384, d_model=TEXT_WIDTH, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
        ).eval(),
        tokenizer_2=ByT5Tokenizer(),
        transformer=strengthen(_transformer()),
        vae=strengthen(_vae()),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=5.0),
        guider=ClassifierFreeGuidance(guidance_scale=6.0),
    ).save_pretrained(folder)
    return folder


def _transformer() -> HunyuanVideo15Transformer3DModel:
    return HunyuanVideo15Transformer3DModel(
        in_channels=2 * LATENT_CHANNELS + 1,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=2,
        attention_head_dim=8,
        num_layers=1,
        num_refiner_layers=1,
        mlp_ratio=2.0,
        text_embed_dim=TEXT_WIDTH,
        text_embed_2_dim=TEXT_WIDTH,
        image_embed_dim=8,
        rope_axes_dim=(2, 2, 4),
        target_size=64,
        task_type="t2v",
    )


def _vae() -> AutoencoderKLHunyuanVideo15:
    """Return an autoencoder that shrinks 4 x 16 x 16 times."""
    return AutoencoderKLHunyuanVideo15(
        latent_channels=LATENT_CHANNELS, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
    )


def _text_encoder(tokenizer: Qwen2Tokenizer) -> Qwen2_5_VLTextModel:
    config = Qwen2_5_VLTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        rope_parameters={"mrope_section": [1, 1, 2], "rope_type": "default", "rope_theta": 1000000.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
    )
    return Qwen2_5_VLTextModel(config).eval()
