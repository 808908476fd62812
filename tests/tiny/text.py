"""Tokenizers and text encoders of a few kilobytes."""

from __future__ import annotations

from string import ascii_lowercase

from tokenizers.pre_tokenizers import ByteLevel
from transformers import (
    CLIPTextConfig,
    CLIPTokenizer,
    Gemma2Config,
    Gemma2Model,
    GemmaTokenizer,
    Qwen2Tokenizer,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

TEXT_LENGTH = 24


def tiny_tokenizer() -> CLIPTokenizer:
    """Return a CLIP tokenizer without merges: every byte is a token."""
    alphabet = sorted(ByteLevel.alphabet())
    tokens = [*alphabet, *(f"{letter}</w>" for letter in alphabet), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[], model_max_length=TEXT_LENGTH)


def tiny_text_config(tokenizer: CLIPTokenizer) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        projection_dim=32,
        max_position_embeddings=TEXT_LENGTH,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def tiny_t5_tokenizer() -> T5Tokenizer:
    """Return a T5 tokenizer whose pieces are letters."""
    special = ["<pad>", "</s>", "<unk>"]
    pieces = [*special, "▁", *ascii_lowercase, *(f"▁{letter}" for letter in ascii_lowercase)]
    return T5Tokenizer(vocab=[(piece, 0.0 if piece in special else -1.0) for piece in pieces], extra_ids=0)


def tiny_t5(tokenizer: T5Tokenizer) -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    ).eval()


def tiny_gemma_tokenizer() -> GemmaTokenizer:
    """Return a Gemma tokenizer whose pieces are letters."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    pieces = [*special, "▁", *ascii_lowercase]
    return GemmaTokenizer(vocab={piece: number for number, piece in enumerate(pieces)}, merges=[])


def tiny_gemma2(tokenizer: GemmaTokenizer) -> Gemma2Model:
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=37,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
    )
    return Gemma2Model(config).eval()


def tiny_umt5(tokenizer: T5Tokenizer) -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(vocab_size=len(tokenizer), d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4)
    ).eval()


def tiny_qwen_tokenizer() -> Qwen2Tokenizer:
    """Return a Qwen2 tokenizer without merges: every byte is a token, beside those of chats and pictures."""
    tokens = [*sorted(ByteLevel.alphabet()), "<|endoftext|>"]
    special = ["im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad"]
    tokenizer = Qwen2Tokenizer(
        vocab={token: number for number, token in enumerate(tokens)},
        extra_special_tokens=[f"<|{name}|>" for name in special],
    )
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer
