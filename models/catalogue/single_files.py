"""Checkpoints of one file."""

from __future__ import annotations

from collections.abc import Iterator

from models.catalogue.families import TEXT_ENCODERS
from models.catalogue.memory.options import Memory
from models.catalogue.sources import Source

SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Endings of checkpoints, of whole pipelines or of components that `config` or the family's base completes."""
CHECKPOINTS = (*SINGLE_FILES, ".gguf")
"""Endings of all files that may be a model."""


def without_ending(name: str) -> str:
    """Return the name of a file, folder or repository without a checkpoint's ending."""
    return next((name.removesuffix(ending) for ending in CHECKPOINTS if name.endswith(ending)), name)


def single_file_mistakes(source: Source, memory: Memory) -> Iterator[str]:
    """Yield what is wrong with a source that is one file."""
    if str(source).endswith(SINGLE_FILES) and memory.quantization is not None:
        yield "memory.quantization: a single file is read as it is; name a folder or repository in diffusers layout"
    if str(source).endswith(".gguf") and set(memory.storage_dtype) - {*TEXT_ENCODERS}:
        yield "memory.storage_dtype: the weights of a GGUF file are quantized already"
