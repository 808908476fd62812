"""The tensors of a GGUF file."""

from __future__ import annotations

from pathlib import Path

import torch

from core.errors import LoadFailed
from models.weights.memory.quantizing import need_package

LANGUAGE_MODEL = ("token_embd.weight", "blk.0.attn_q.weight", "enc.blk.0.attn_q.weight")


def gguf_outline(file: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file without their values, by name and in their true shapes.

    Raises LoadFailed if the package for GGUF is not installed, or for a language model.
    """
    need_package("gguf")
    from gguf import GGUFReader  # of an extra

    tensors = {each.name: tuple(int(size) for size in reversed(each.shape)) for each in GGUFReader(file).tensors}
    if any(name in tensors for name in LANGUAGE_MODEL):
        raise LoadFailed("it is a text encoder or language model alone; GGUF is read for denoisers only")
    return {name: torch.empty(shape, device="meta") for name, shape in tensors.items()}
