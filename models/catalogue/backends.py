"""What diffusers can do, spelt out, since a catalogue is checked without importing it; the tests compare."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.validation import did_you_mean

if TYPE_CHECKING:
    from models.catalogue.entry import Entry, Memory

ATTENTION_BACKENDS = frozenset(
    [
        "flash",
        "flash_hub",
        "flash_varlen",
        "flash_varlen_hub",
        "flash_4_hub",
        "_flash_3",
        "_flash_varlen_3",
        "_flash_3_hub",
        "_flash_3_varlen_hub",
        "aiter_fa2_hub",
        "flex",
        "native",
        "_native_cudnn",
        "_native_efficient",
        "_native_flash",
        "_native_math",
        "_native_npu",
        "_native_xla",
        "sage",
        "sage_hub",
        "sage_blackwell_hub",
        "sage_varlen",
        "_sage_qk_int8_pv_fp8_cuda",
        "_sage_qk_int8_pv_fp8_cuda_sm90",
        "_sage_qk_int8_pv_fp16_cuda",
        "_sage_qk_int8_pv_fp16_triton",
        "xformers",
    ]
)
"""diffusers.models.attention_dispatch.AttentionBackendName."""
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


def memory_mistakes(memory: Memory) -> Iterator[str]:
    """Yield what diffusers would refuse, or ignore, of an entry's `memory`."""
    if memory.attention is not None and memory.attention not in ATTENTION_BACKENDS:
        known = sorted(ATTENTION_BACKENDS)
        yield (
            f"memory.attention: {memory.attention!r} is unknown; "
            f"known: {', '.join(known)}{did_you_mean(memory.attention, known)}"
        )
    quantization = memory.quantization
    if quantization and quantization.backend == "torchao" and "quant_type" not in quantization.options:
        yield "memory.quantization.options: torchao needs a quant_type, such as Int8WeightOnlyConfig"


def single_file_mistakes(entry: Entry) -> Iterator[str]:
    """Yield what cannot be done with a source that is one file."""
    if not str(entry.source).endswith(SINGLE_FILES):
        return
    first = next((name for task, name in entry.family_spec.pipelines.items() if task in entry.tasks), None)
    if first in FOLDERS_ONLY:
        yield f"source: {first} cannot be read from a single file; name a folder or repository in diffusers layout"
    if entry.memory.quantization is not None:
        yield "memory.quantization: a single file is read as it is; name a folder or repository in diffusers layout"
