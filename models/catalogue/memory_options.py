"""What an entry trades for memory or speed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from core.validation import Strict, did_you_mean

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
"""diffusers.models.attention_dispatch.AttentionBackendName, listed since checking a catalogue imports no diffusers."""


class Quantization(Strict):
    """Weights in fewer bits, by diffusers' own quantizers; each needs its extra. A GGUF file is a source."""

    backend: Literal["bitsandbytes_4bit", "bitsandbytes_8bit", "torchao"]
    components: tuple[str, ...] = Field(min_length=1)
    """Which of the pipeline's components, such as transformer and text_encoder_2."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the backend's configuration class."""


class Memory(Strict):
    """What to trade for memory or speed."""

    offload: Literal["none", "model", "sequential"] = "none"
    """Keep weights in main memory: whole components, or layer by layer (slow)."""
    vae_slicing: bool = False
    """Decode the images of a batch one after the other."""
    vae_tiling: bool = False
    """Decode large images in overlapping tiles."""
    quantization: Quantization | None = None
    attention: str | None = None
    """A diffusers attention backend, such as flash or _native_cudnn."""
    compile: bool = False
    """Compile the denoiser; batches are then rounded up to `batch_buckets`."""
    batch_buckets: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 4, 8, 16), min_length=1)
    """Samples per pass that a compiled denoiser is built for."""


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
