"""Maps FLUX.1's original names, which BFL, ComfyUI and kohya's trainer use, to those of diffusers.

Diffusers' own converters assume the published models' width when they split a module of the original.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

BLOCKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "double_blocks": {
        "img_attn.qkv": ("attn.to_q", "attn.to_k", "attn.to_v"),
        "txt_attn.qkv": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
        "img_attn.proj": ("attn.to_out.0",),
        "txt_attn.proj": ("attn.to_add_out",),
        "img_mod.lin": ("norm1.linear",),
        "txt_mod.lin": ("norm1_context.linear",),
        "img_mlp.0": ("ff.net.0.proj",),
        "img_mlp.2": ("ff.net.2",),
        "txt_mlp.0": ("ff_context.net.0.proj",),
        "txt_mlp.2": ("ff_context.net.2",),
        "img_attn.norm.query_norm": ("attn.norm_q",),
        "img_attn.norm.key_norm": ("attn.norm_k",),
        "txt_attn.norm.query_norm": ("attn.norm_added_q",),
        "txt_attn.norm.key_norm": ("attn.norm_added_k",),
    },
    "single_blocks": {
        "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
        "linear2": ("proj_out",),
        "modulation.lin": ("norm.linear",),
        "norm.query_norm": ("attn.norm_q",),
        "norm.key_norm": ("attn.norm_k",),
    },
}
"""The modules of diffusers that share the rows of one original module, in this order."""
OUTER: Mapping[str, str] = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
    "final_layer.adaLN_modulation.1": "norm_out.linear",
}
SHIFT_FIRST = "norm_out.linear"
"""The one module whose rows, a shift and a scale, are in the other order."""


def original_modules(double: int, single: int) -> dict[str, tuple[str, ...]]:
    """Return, for each original module, the modules of diffusers with its rows, in order, for so many blocks."""
    counts = {"double_blocks": ("transformer_blocks", double), "single_blocks": ("single_transformer_blocks", single)}
    blocks = {
        f"{kind}.{number}.{name}": tuple(f"{own}.{number}.{part}" for part in parts)
        for kind, (own, count) in counts.items()
        for number in range(count)
        for name, parts in BLOCKS[kind].items()
    }
    return {**blocks, **{name: (own,) for name, own in OUTER.items()}}


def split_rows(rows: torch.Tensor, parts: int, width: int) -> tuple[torch.Tensor, ...]:
    """Split a module's outputs, the first axis of `rows`, among its parts, each of `width` but for a fourth one."""
    return rows.split([width] * 3 + [len(rows) - 3 * width] * (parts - 3)) if parts > 1 else (rows,)


def to_diffusers(tensors: Mapping[str, torch.Tensor], double: int, single: int) -> dict[str, torch.Tensor]:
    """Return a checkpoint under diffusers' names, given its numbers of blocks; unknown names are kept."""
    known = original_modules(double, single)
    return dict(pair for name, tensor in tensors.items() for pair in _converted(name, tensor, tensors, known))


def _converted(
    name: str, tensor: torch.Tensor, tensors: Mapping[str, torch.Tensor], known: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[str, torch.Tensor]]:
    module, _, parameter = name.rpartition(".")
    modules = known.get(module, ())
    if not modules:
        yield name, tensor
        return
    # Attention, and what is fused with it, has as many inputs as each of its parts has outputs.
    width = tensors[f"{module}.weight"].shape[1] if len(modules) > 1 else 0
    for own, part in zip(modules, split_rows(tensor, len(modules), width), strict=True):
        yield f"{own}.{'weight' if parameter == 'scale' else parameter}", swapped(own, part)


def swapped(module: str, rows: torch.Tensor) -> torch.Tensor:
    """Return a module's rows in diffusers' order."""
    return torch.cat(rows.chunk(2)[::-1]) if module == SHIFT_FIRST else rows
