"""Checkpoints of one file, in the layouts that people have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from tests.tiny.original_names import (
    Tensors,
    original_clip,
    original_flux,
    original_unet,
    original_vae,
    original_wan,
    original_z_image,
)

COMFY = "model.diffusion_model."
LARGEST_E4M3 = 448


def component(folder: Path, name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of one component of a checkpoint in diffusers layout."""
    (file,) = (folder / name).glob("*.safetensors")
    return load_file(file)


def prefixed(tensors: Tensors, prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in tensors.items()}


def stable_diffusion_file(folder: Path) -> dict[str, torch.Tensor]:
    """Return all that a tiny Stable Diffusion is made of, by the original names."""
    return {
        **prefixed(original_unet(component(folder, "unet")), COMFY),
        **prefixed(original_vae(component(folder, "vae")), "first_stage_model."),
        **original_clip(component(folder, "text_encoder")),
    }


def denoiser_file(family: str, folder: Path) -> dict[str, torch.Tensor]:
    """Return the denoiser of a tiny checkpoint by the names that most files of its family have, without a prefix."""
    if family == "stable-diffusion":
        return original_unet(component(folder, "unet"))
    named = {"flux": original_flux, "wan": original_wan, "z-image": original_z_image}.get(family, dict)
    return named(component(folder, "transformer"))


def scaled_fp8(tensors: Mapping[str, torch.Tensor], ending: str = ".scale_weight") -> dict[str, torch.Tensor]:
    """Return the tensors as ComfyUI's scaled fp8: matrices in 8 bits, each with a scale."""
    scaled: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        if not name.endswith(".weight") or tensor.ndim != 2:
            scaled[name] = tensor
            continue
        scale = tensor.abs().max() / LARGEST_E4M3
        scaled[name] = (tensor / scale).to(torch.float8_e4m3fn)
        scaled[name.removesuffix(".weight") + ending] = scale.float()
    return scaled


def saved(tensors: Mapping[str, torch.Tensor], file: Path, dtype: torch.dtype | None = None) -> Path:
    """Write a file; `dtype` is that of matrices and convolutions, as fp8 files have it."""
    cast = {name: t.to(dtype) if dtype and t.ndim >= 2 else t for name, t in tensors.items()}
    save_file({name: tensor.contiguous().clone() for name, tensor in cast.items()}, file)
    return file


def saved_gguf(tensors: Mapping[str, torch.Tensor], file: Path) -> Path:
    """Write a denoiser with its linear weights in 8 bits."""
    import gguf

    writer = gguf.GGUFWriter(file, "qwen_image")
    for name, weight in tensors.items():
        values = weight.numpy()
        if values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(name, gguf.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return file
