"""Tensors of diffusers' modules by the names that the original programs give them."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

Tensors = Mapping[str, torch.Tensor]
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
UNET_OUTER = {
    "conv_in": "input_blocks.0.0",
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
    "mid_block.attentions.0": "middle_block.1",
}
VAE_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}


def original_unet(tensors: Tensors, layers_per_block: int = 1) -> dict[str, torch.Tensor]:
    """Name the tensors of a UNet as Stable Diffusion 1.x does, without a prefix."""
    with_attention = {int(found[1]) for name in tensors if (found := re.match(r"up_blocks\.(\d+)\.attentions", name))}
    return {_unet_name(name, layers_per_block, with_attention): tensor for name, tensor in tensors.items()}


def _unet_name(name: str, layers: int, with_attention: set[int]) -> str:
    for own, original in UNET_OUTER.items():
        if name.startswith(f"{own}."):
            return original + name.removeprefix(own)
    if found := re.match(r"mid_block\.resnets\.(\d)\.(\w+)\.(\w+)", name):
        return f"middle_block.{2 * int(found[1])}.{RESNET[found[2]]}.{found[3]}"
    found = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.+)", name)
    assert found is not None, name
    side, block, kind, number, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    place = f"input_blocks.{1 + block * (layers + 1)}" if side == "down" else f"output_blocks.{block * (layers + 1)}"
    start, _, first = place.partition(".")
    if kind == "resnets":
        module, _, parameter = rest.partition(".")
        return f"{start}.{int(first) + number}.0.{RESNET[module]}.{parameter}"
    if kind == "attentions":
        return f"{start}.{int(first) + number}.1.{rest}"
    if side == "down":
        return f"{start}.{int(first) + layers}.0.op.{rest.removeprefix('conv.')}"
    return f"{start}.{int(first) + layers}.{2 if block in with_attention else 1}.{rest}"


def original_vae(tensors: Tensors, blocks: int = 4) -> dict[str, torch.Tensor]:
    """Name the tensors of an AutoencoderKL as Stable Diffusion 1.x does, without a prefix."""
    named = {_vae_name(name, blocks): tensor for name, tensor in tensors.items()}
    # Its attention is of convolutions.
    matrices = re.compile(r"attn_1\.(q|k|v|proj_out)\.weight")
    return {name: t[:, :, None, None] if matrices.search(name) and t.ndim == 2 else t for name, t in named.items()}


def _vae_name(name: str, blocks: int) -> str:
    side, _, rest = name.partition(".")
    rest = rest.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    if found := re.match(r"mid_block\.resnets\.(\d)\.(.+)", rest):
        return f"{side}.mid.block_{int(found[1]) + 1}.{found[2]}"
    if found := re.match(r"mid_block\.attentions\.0\.(.+)\.(\w+)", rest):
        return f"{side}.mid.attn_1.{VAE_ATTENTION[found[1]]}.{found[2]}"
    if found := re.match(r"(down|up)_blocks\.(\d+)\.(resnets|\w+samplers)\.(\d+)\.(.+)", rest):
        level = int(found[2]) if found[1] == "down" else blocks - 1 - int(found[2])
        within = f"block.{found[4]}" if found[3] == "resnets" else f"{found[1]}sample"
        return f"{side}.{found[1]}.{level}.{within}.{found[5]}"
    return f"{side}.{rest}"


def original_clip(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Name the tensors of a CLIPTextModel as Stable Diffusion 1.x does."""
    prefix = "cond_stage_model.transformer."
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in tensors.items()}


FLUX_DOUBLE = {
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
}
FLUX_SINGLE = {
    "linear1": ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"),
    "linear2": ("proj_out",),
    "modulation.lin": ("norm.linear",),
}
FLUX_NORMS = {
    "double_blocks.0.img_attn.norm.query_norm": "transformer_blocks.0.attn.norm_q",
    "double_blocks.0.img_attn.norm.key_norm": "transformer_blocks.0.attn.norm_k",
    "double_blocks.0.txt_attn.norm.query_norm": "transformer_blocks.0.attn.norm_added_q",
    "double_blocks.0.txt_attn.norm.key_norm": "transformer_blocks.0.attn.norm_added_k",
    "single_blocks.0.norm.query_norm": "single_transformer_blocks.0.attn.norm_q",
    "single_blocks.0.norm.key_norm": "single_transformer_blocks.0.attn.norm_k",
}
FLUX_OUTER = {
    "img_in": "x_embedder",
    "txt_in": "context_embedder",
    "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "final_layer.linear": "proj_out",
}


def flux_modules() -> dict[str, tuple[str, ...]]:
    """Return which modules of the tiny transformer, in diffusers' names, each original one is made of."""
    double = {f"double_blocks.0.{k}": tuple(f"transformer_blocks.0.{n}" for n in v) for k, v in FLUX_DOUBLE.items()}
    single = {
        f"single_blocks.0.{k}": tuple(f"single_transformer_blocks.0.{n}" for n in v) for k, v in FLUX_SINGLE.items()
    }
    return {**double, **single, **{own: (name,) for own, name in FLUX_OUTER.items()}}


def original_flux(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Name the tensors of the tiny FLUX transformer, with one block of each kind, as BFL does, without a prefix."""
    named = {
        f"{original}.{kind}": torch.cat([tensors[f"{own}.{kind}"] for own in parts])
        for original, parts in flux_modules().items()
        for kind in ("weight", "bias")
    }
    named |= {f"{original}.scale": tensors[f"{own}.weight"] for original, own in FLUX_NORMS.items()}
    for kind in ("weight", "bias"):
        scale, shift = tensors[f"norm_out.linear.{kind}"].chunk(2)
        named[f"final_layer.adaLN_modulation.1.{kind}"] = torch.cat([shift, scale])
    return named


WAN = (
    ("condition_embedder.time_embedder.linear_1", "time_embedding.0"),
    ("condition_embedder.time_embedder.linear_2", "time_embedding.2"),
    ("condition_embedder.text_embedder.linear_1", "text_embedding.0"),
    ("condition_embedder.text_embedder.linear_2", "text_embedding.2"),
    ("condition_embedder.time_proj", "time_projection.1"),
    ("attn2", "cross_attn"),
    ("attn1", "self_attn"),
    (".to_out.0.", ".o."),
    (".to_q.", ".q."),
    (".to_k.", ".k."),
    (".to_v.", ".v."),
    ("ffn.net.0.proj", "ffn.0"),
    ("ffn.net.2", "ffn.2"),
    ("norm2", "norm__"),
    ("norm3", "norm2"),
    ("norm__", "norm3"),
)


def wan_name(name: str) -> str:
    """Name a tensor of a text-to-video Wan transformer as its authors do."""
    if name == "scale_shift_table":
        return "head.modulation"
    if name.startswith("proj_out."):
        return name.replace("proj_out", "head.head")
    for own, original in WAN:
        name = name.replace(own, original)
    return name.replace("scale_shift_table", "modulation")


def original_wan(tensors: Tensors) -> dict[str, torch.Tensor]:
    return {wan_name(name): tensor for name, tensor in tensors.items()}


def original_z_image(tensors: Tensors) -> dict[str, torch.Tensor]:
    """Name the tensors of a Z-Image transformer as ComfyUI's files do: queries, keys and values are one matrix."""
    named: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if name.endswith(".to_q.weight"):
            parts = [tensors[name.replace("to_q", part)] for part in ("to_q", "to_k", "to_v")]
            named[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif not name.endswith((".to_k.weight", ".to_v.weight")):
            named[_z_image_name(name)] = tensor
    return named


def _z_image_name(name: str) -> str:
    for own, original in (
        ("all_final_layer.2-1.", "final_layer."),
        ("all_x_embedder.2-1.", "x_embedder."),
        (".attention.norm_k.", ".attention.k_norm."),
        (".attention.norm_q.", ".attention.q_norm."),
        (".attention.to_out.0.", ".attention.out."),
    ):
        name = name.replace(own, original)
    return name
