"""Weights that several layers share, such as a language model's first and last: one, wherever they are."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from transformers import Qwen3Config, Qwen3ForCausalLM

from models.weights.counting.modules import weights_bytes
from models.weights.counting.stored_weights import cast_bytes, grouped_bytes, quantized_bytes
from models.weights.memory.casting import cast_layers, store_in
from models.weights.memory.offloading import group_layers

TOKENS, WIDTH = 100, 16
SHARED_BYTES = TOKENS * WIDTH * 4


def encoder(*, tied: bool = True) -> Any:
    """Return a language model as FLUX.2 klein and Z-Image have them."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=TOKENS,
        hidden_size=WIDTH,
        intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        tie_word_embeddings=tied,
    )
    return Qwen3ForCausalLM(config).eval()


def shared(module: Any) -> bool:
    return module.lm_head.weight is module.model.embed_tokens.weight


@torch.no_grad()
def said(module: Any) -> torch.Tensor:
    logits: torch.Tensor = module(torch.arange(12)[None]).logits
    return logits


@pytest.mark.parametrize("pinned", [True, False])
def test_layers_that_come_one_by_one_still_share_them(pinned: bool) -> None:
    module = encoder()
    before = said(module)
    group_layers(module, torch.device("cpu", 0), pinned=pinned)
    assert torch.equal(said(module), before)
    assert shared(module)


def test_what_an_embedding_has_is_not_cast_with_another_layer() -> None:
    module = encoder()
    whole = copy.deepcopy(module)
    assert shared(module)
    store_in(module, torch.float8_e4m3fn)
    assert shared(module)
    assert module.lm_head.weight.dtype is torch.float32
    layers = cast_layers(module)
    assert layers
    for path, layer in module.named_modules():
        if layer in layers:
            own = whole.get_submodule(path)
            own.weight.data = own.weight.data.to(torch.float8_e4m3fn).float()
    assert torch.equal(said(module), said(whole))


@pytest.mark.parametrize(
    "taken",
    [
        weights_bytes,
        cast_bytes,
        lambda module: quantized_bytes(module, 8),
        lambda module: quantized_bytes(module, 4),
    ],
    ids=["whole", "cast", "8 bits", "4 bits"],
)
def test_they_are_counted_once(taken: Any) -> None:
    """And whole, however the others are stored: nothing casts or quantizes an embedding."""
    linear = taken(encoder(tied=False)) - taken(encoder())
    assert linear in (SHARED_BYTES, SHARED_BYTES // 4), "that of a layer of its own, whole or cast"


def test_groups_count_what_they_share_once() -> None:
    with torch.device("meta"):
        tied, apart = encoder(), encoder(tied=False)
    assert weights_bytes(tied) == weights_bytes(apart) - SHARED_BYTES
    assert SHARED_BYTES <= grouped_bytes("text_encoder", tied) <= grouped_bytes("text_encoder", apart)
