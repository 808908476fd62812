"""The options of an entry's `memory`, and what they cannot be combined with."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from core.validation import Strict, did_you_mean
from models.catalogue.families import TEXT_ENCODERS, CallStage, Family

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
"""A copy of diffusers.models.attention_dispatch.AttentionBackendName, so that checks need not import diffusers."""

WITHOUT_MASKS = frozenset(
    [
        "flash",
        "flash_hub",
        "flash_4_hub",
        "_flash_3",
        "_flash_3_hub",
        "aiter_fa2_hub",
        "_native_flash",
        "_native_xla",
        "sage",
        "sage_hub",
        "sage_blackwell_hub",
        "_sage_qk_int8_pv_fp8_cuda",
        "_sage_qk_int8_pv_fp8_cuda_sm90",
        "_sage_qk_int8_pv_fp16_cuda",
        "_sage_qk_int8_pv_fp16_triton",
    ]
)
"""The backends whose functions there refuse masks, and so fail in every pass that has one."""


TEXT_MULTIPLE = 32
"""Z-Image pads prompts to multiples of this itself, and attention kernels want masks of multiples of 8."""


Stored = Literal["float8_e4m3fn", "float8_e5m2"]


IN_PARTS = ("group", "sequential")
"""The ways of offloading that move parts of a component."""


class Quantization(Strict):
    """Quantization by diffusers' own quantizers, each of which needs its extra. GGUF files are sources instead."""

    backend: Literal["bitsandbytes_4bit", "bitsandbytes_8bit", "torchao", "quanto"]
    components: tuple[str, ...] = Field(min_length=1)
    """The components to quantize, such as transformer and text_encoder_2."""
    options: Mapping[str, Any] = Field(default_factory=dict)
    """Keyword arguments of the backend's configuration class."""

    @property
    def bits(self) -> int | None:
        """Bits of each weight of a linear layer; None if unknown."""
        kinds = {"torchao": self.options.get("quant_type"), "quanto": self.options.get("weights", "int8")}
        named = re.findall(r"(?:int|float|_)(\d)", str(kinds.get(self.backend, self.backend)).lower())
        return int(named[-1]) if named else None


class WarmSize(Strict):
    """One size that a denoiser is compiled for."""

    width: int = Field(ge=1)
    height: int = Field(ge=1)
    num_frames: int | None = Field(default=None, ge=1)
    """Of a video; None: the default of its task."""


class Memory(Strict):
    """What to trade for memory or speed."""

    offload: Literal["none", "model", "group", "sequential"] = "none"
    """Keep weights in main memory: whole components, a denoiser's blocks, or single layers (slow)."""
    storage_dtype: Mapping[str, Stored] = Field(default_factory=dict)
    """The format in which weights of denoisers and text encoders are stored, by component; each layer is cast to the
    entry's `dtype` while it computes."""
    vae_slicing: bool = False
    """Decode the images of a batch one after the other."""
    vae_tiling: bool = False
    """Decode large images in overlapping tiles."""
    quantization: Quantization | None = None
    attention: str | None = None
    """A diffusers attention backend, such as flash or _native_cudnn."""
    compile: bool | Literal["blocks", "whole", "cuda-graphs"] = False
    """Compile the denoisers: their repeated blocks, the whole, or the whole as CUDA graphs, which save the time between
    the kernels of a small model. `true` means blocks, but for a UNet the whole.

    The passes of `warm` are compiled when the model is loaded; any other runs uncompiled.
    """
    batch_buckets: tuple[Annotated[int, Field(ge=1)], ...] = Field(default=(1, 2, 4, 8, 16), min_length=1)
    """Samples per pass that a compiled denoiser is built for; batches are rounded up to them."""
    text_buckets: tuple[Annotated[int, Field(ge=TEXT_MULTIPLE, multiple_of=TEXT_MULTIPLE)], ...] = Field(
        default=(64, 128, 256, 512), min_length=1
    )
    """Lengths, in tokens, that prompts are padded to for a compiled denoiser whose prompts would vary in length."""
    warm: tuple[WarmSize, ...] = ()
    """Sizes that a compiled denoiser is built for; left out: the default size of the first task."""


def memory_mistakes(memory: Memory, family: Family) -> Iterator[str]:
    """Yield which of an entry's `memory` options diffusers would refuse or ignore."""
    yield from _attention_mistakes(memory, family)
    if memory.warm and not memory.compile:
        yield "memory.warm: has an effect with memory.compile only"
    quantization = memory.quantization
    if quantization and quantization.backend == "torchao" and "quant_type" not in quantization.options:
        yield "memory.quantization.options: torchao needs a quant_type, such as Int8WeightOnlyConfig"
    if memory.offload in IN_PARTS and quantization and quantization.backend.startswith("bitsandbytes"):
        yield f"memory.offload: {memory.offload} cannot move weights of {quantization.backend}; choose model"
    if memory.offload in IN_PARTS and memory.compile:
        yield f"memory.offload: {memory.offload} cannot be combined with memory.compile; choose model"
    yield from _storage_mistakes(memory, family)


def denoisers_of(family: Family) -> tuple[str, ...]:
    """Return the names of the components that denoise, the family's own first."""
    parts = [part.component for part in family.parts if part.stage is CallStage.DENOISE]
    return tuple(dict.fromkeys([family.denoiser, *parts]))


def clashing_with_ip_adapters(memory: Memory, family: Family) -> str | None:
    """Return the option that keeps an IP-Adapter's denoiser from sharing the model's weights, or None."""
    if memory.offload != "none":
        return "offload"
    if memory.quantization:
        return "quantization"
    return "storage_dtype" if {*memory.storage_dtype} & {*denoisers_of(family)} else None


def clashing_with_controlnets(memory: Memory, family: Family) -> str | None:
    """Return the option that keeps ControlNets from using the denoiser's layers or weights, or None."""
    if family.controlnet_shares and memory.compile:
        return "compile"
    # With `sequential`, weights are not on the device until their layer is called.
    moves = memory.offload == "sequential" if family.controlnet_copies else memory.offload != "none"
    return "offload" if moves and (family.controlnet_shares or family.controlnet_copies) else None


def _storage_mistakes(memory: Memory, family: Family) -> Iterator[str]:
    castable = (*denoisers_of(family), *TEXT_ENCODERS)
    for name in memory.storage_dtype:
        place = f"memory.storage_dtype.{name}"
        if name not in castable:
            yield f"{place}: only denoisers and text encoders can be cast: {', '.join(castable)}"
        if memory.quantization and name in memory.quantization.components:
            yield f"{place}: is in memory.quantization.components already"
        if memory.compile and name in denoisers_of(family):
            yield f"{place}: cannot be combined with memory.compile"


def _attention_mistakes(memory: Memory, family: Family) -> Iterator[str]:
    backend = memory.attention
    if backend is None:
        return
    if backend not in ATTENTION_BACKENDS:
        known = sorted(ATTENTION_BACKENDS)
        yield f"memory.attention: {backend!r} is unknown; known: {', '.join(known)}{did_you_mean(backend, known)}"
    elif not family.chooses_attention:
        yield f"memory.attention: has no effect on {family.name}, whose attention is always PyTorch's own"
    elif family.masks and backend in WITHOUT_MASKS:
        able = sorted(ATTENTION_BACKENDS - WITHOUT_MASKS)
        yield (
            f"memory.attention: {backend} takes no mask, and {family.name} masks the padding of prompts; "
            f"choose one of {', '.join(able)}"
        )
