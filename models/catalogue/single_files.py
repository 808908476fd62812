"""Checkpoints of one file: which pipelines can read one, listed since checking a catalogue imports no diffusers."""

from __future__ import annotations

from collections.abc import Iterator

from models.catalogue.memory_options import Memory
from models.catalogue.sources import Source

FOLDERS_ONLY = frozenset(
    [
        "FluxInpaintPipeline",
        "Flux2KleinPipeline",
        "QwenImagePipeline",
        "QwenImageImg2ImgPipeline",
        "QwenImageInpaintPipeline",
        "QwenImageEditPipeline",
        "QwenImageEditPlusPipeline",
        "WanPipeline",
        "WanImageToVideoPipeline",
    ]
)
"""Pipelines of the families that have no `from_single_file`."""
SINGLE_FILES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
"""Of whole pipelines; a GGUF file is a denoiser, which every family reads."""


def single_file_mistakes(source: Source, pipeline: str | None, memory: Memory) -> Iterator[str]:
    """Yield what is wrong with a source that is one file, which `pipeline` reads."""
    if not str(source).endswith(SINGLE_FILES):
        return
    if pipeline in FOLDERS_ONLY:
        yield f"source: {pipeline} cannot be read from a single file; name a folder or repository in diffusers layout"
    if memory.quantization is not None:
        yield "memory.quantization: a single file is read as it is; name a folder or repository in diffusers layout"
