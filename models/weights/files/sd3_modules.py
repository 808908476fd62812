"""Maps Stable Diffusion 3.x's original names, which kohya's trainer and ComfyUI use for LoRAs, to diffusers'."""

from __future__ import annotations

import re
from collections.abc import Mapping

BLOCK: Mapping[str, tuple[str, ...]] = {
    "x_block.attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "x_block.attn2.qkv": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
    "context_block.attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "x_block.attn.proj": ("attn.to_out.0",),
    "x_block.attn2.proj": ("attn2.to_out.0",),
    "context_block.attn.proj": ("attn.to_add_out",),
    "x_block.mlp.fc1": ("ff.net.0.proj",),
    "x_block.mlp.fc2": ("ff.net.2",),
    "context_block.mlp.fc1": ("ff_context.net.0.proj",),
    "context_block.mlp.fc2": ("ff_context.net.2",),
    "x_block.adaLN_modulation.1": ("norm1.linear",),
    "context_block.adaLN_modulation.1": ("norm1_context.linear",),
}
OUTER: Mapping[str, str] = {
    "x_embedder.proj": "pos_embed.proj",
    "context_embedder": "context_embedder",
    "t_embedder.mlp.0": "time_text_embed.timestep_embedder.linear_1",
    "t_embedder.mlp.2": "time_text_embed.timestep_embedder.linear_2",
    "y_embedder.mlp.0": "time_text_embed.text_embedder.linear_1",
    "y_embedder.mlp.2": "time_text_embed.text_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}


def original_modules(numbers: int) -> dict[str, tuple[str, ...]]:
    """Return, for each original module, the modules of diffusers with its rows, in order, for so many blocks."""
    blocks = {
        f"joint_blocks.{number}.{name}": tuple(f"transformer_blocks.{number}.{part}" for part in parts)
        for number in range(numbers)
        for name, parts in BLOCK.items()
    }
    return {**blocks, **{name: (own,) for name, own in OUTER.items()}}


def is_shift_first(module: str, numbers: int) -> bool:
    """Whether the rows of a module, in diffusers a scale and a shift, are in the opposite order in the original."""
    last = re.fullmatch(r"transformer_blocks\.(\d+)\.norm1_context\.linear", module)
    return module == "norm_out.linear" or (last is not None and int(last[1]) == numbers - 1)
