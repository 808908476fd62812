"""Sorts the tensors of a single-file checkpoint by their names, before any of them is read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import is_clip_model_in_single_file, is_t5_in_single_file
from diffusers.loaders.single_file_utils import load_single_file_checkpoint as read_checkpoint
from safetensors import safe_open
from transformers import CLIPTextModel

from models.weights.files.side_tensors import refuse_side_tensors, unscaled

Tensors = Mapping[str, torch.Tensor]

DENOISER = ("model.diffusion_model.", "diffusion_model.", "unet.", "transformer.")
"""Prefixes that programs give to a denoiser's tensors; the first is the original one, and ComfyUI's."""
VAE = ("first_stage_model.", "vae.")
TEXT = ("cond_stage_model.", "conditioner.", "text_encoders.")
UNUSED = ("model_ema.", "scaled_fp8", "denoiser.", "model_sampling.")
"""Ignored tensors: training's moving averages, markers, and noise schedules, which samplers get from configurations."""


@dataclass(frozen=True)
class Contents:
    """The tensors of one file by the component they belong to; only the denoiser's names lose their prefix."""

    denoiser: Tensors
    vae: Tensors
    text: Tensors

    def holds(self, component: str, kind: str, denoiser: str) -> bool:
        """Whether a pipeline's component of this class is in the file."""
        if component in (denoiser, "vae"):
            return bool(self.denoiser if component == denoiser else self.vae)
        if kind.startswith("CLIPText"):
            return bool(is_clip_model_in_single_file(CLIPTextModel, self.text))
        return kind.startswith("T5") and bool(is_t5_in_single_file(self.text))


def outline(file: Path) -> dict[str, torch.Tensor]:
    """Return a file's tensors without their values. Raises what safetensors or torch does."""
    if file.suffix != ".safetensors":
        return dict(read_checkpoint(str(file)))
    with safe_open(file, "pt") as tensors:
        slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118, since it is no dictionary
        return {name: like_stored(part.get_shape(), part.get_dtype()) for name, part in slices.items()}


def like_stored(shape: Sequence[int], kind: str) -> torch.Tensor:
    """Return a tensor without memory, of this shape and of the number format that safetensors calls `kind`."""
    return torch.empty(tuple(shape), dtype=_DTYPES.get(kind, torch.uint8), device="meta")


_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I8": torch.int8,
}
"""By safetensors' names; other formats count as bytes."""


def contents(tensors: Tensors, file: Path) -> Contents:
    """Sort the tensors of a file. Raises LoadFailed, naming them, if some would be dropped or it is no checkpoint."""
    refuse_side_tensors(tensors, file.name)
    prefix = next((each for each in DENOISER if _any_below(tensors, each)), "")
    own = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    vae, text = _below(tensors, VAE), _below(tensors, TEXT)
    if not prefix:
        own = {name: tensor for name, tensor in own.items() if name not in vae and name not in text}
    return Contents({name: own[name] for name in own if not name.startswith(UNUSED)}, vae, text)


def _below(tensors: Tensors, prefixes: tuple[str, ...]) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefixes)}


def _any_below(names: Iterable[str], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in names)


def read_contents(file: Path, dtype: torch.dtype) -> Contents:
    """Read a file with scales applied and 8-bit weights converted to `dtype`. Raises LoadFailed."""
    tensors = read_checkpoint(str(file))
    return contents(unscaled(tensors, dtype, file.name), file)
