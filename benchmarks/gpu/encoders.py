"""Text encoders with few layers but the widths that the denoisers expect; their own cost is not measured."""

from __future__ import annotations

from typing import TypeVar

import torch
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

from benchmarks.gpu.setup import Setup
from tests.tiny.text import tiny_t5_tokenizer, tiny_tokenizer

ClipEncoderT = TypeVar("ClipEncoderT", CLIPTextModel, CLIPTextModelWithProjection)
CLIP_TOKENS = 77


def clip(setup: Setup, kind: type[ClipEncoderT], width: int, dtype: torch.dtype) -> tuple[ClipEncoderT, CLIPTokenizer]:
    tokenizer = tiny_tokenizer()
    tokenizer.model_max_length = CLIP_TOKENS
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=8,
        projection_dim=width,
        max_position_embeddings=CLIP_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return setup.built(lambda: kind(config), dtype), tokenizer


def t5(setup: Setup, width: int, dtype: torch.dtype) -> tuple[T5EncoderModel, T5Tokenizer]:
    tokenizer = tiny_t5_tokenizer()
    config = T5Config(vocab_size=len(tokenizer), d_model=width, d_kv=64, d_ff=64, num_layers=1, num_heads=8)
    return setup.built(lambda: T5EncoderModel(config), dtype), tokenizer


def umt5(setup: Setup, width: int, dtype: torch.dtype) -> tuple[UMT5EncoderModel, T5Tokenizer]:
    tokenizer = tiny_t5_tokenizer()
    config = UMT5Config(vocab_size=len(tokenizer), d_model=width, d_kv=64, d_ff=64, num_layers=1, num_heads=8)
    return setup.built(lambda: UMT5EncoderModel(config), dtype), tokenizer
