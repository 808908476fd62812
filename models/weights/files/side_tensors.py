"""Tensors that change the meaning of a file's weights: scales are applied, others are refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch

from core.errors import LoadFailed
from core.wording import some

FLOAT8 = (torch.float8_e4m3fn, torch.float8_e5m2)
SCALES = (".scale_weight", ".weight_scale")
"""Suffixes that ComfyUI and others give to the scale of a module's 8-bit weight."""
IDLE = (".scale_input", ".input_scale", ".comfy_quant", "scaled_fp8")
"""Scales of activations, which are not in 8 bits here, and descriptions of the format."""
INSTEAD = "use the model in bf16, fp16, fp8 or GGUF"
QUANTIZED = "use the folder or repository in full precision with memory.quantization"
SVDQUANT = (
    f"weights of SVDQuant, which only the package nunchaku reads, in pipelines of its own; {INSTEAD}, or {QUANTIZED}"
)
BITSANDBYTES = (
    "weights in {bits} bits of bitsandbytes; "
    f"{QUANTIZED}: {{{{backend: bitsandbytes_{{bits}}bit}}}}, which needs the extra `quantization`"
)
ADAPTER = "name it in the entry's `loras`, or put it into the folder of LoRAs"
KINDS: Mapping[str, str] = {
    ".wscales": SVDQUANT,
    ".smooth_factor": SVDQUANT,
    ".quant_state.bitsandbytes": BITSANDBYTES.format(bits=4),
    ".absmax": BITSANDBYTES.format(bits=4),
    ".SCB": BITSANDBYTES.format(bits=8),
    ".weight_scale_2": f"weights in 4 bits (NVFP4); {INSTEAD}",
    ".qweight": f"weights of GPTQ or AWQ; {INSTEAD}",
    "._data": f"weights of optimum-quanto; {INSTEAD}",
    ".weight_scale_inv": f"weights in 8 bits with a scale for each block; {INSTEAD}",
    ".lora_A.": f"a LoRA; {ADAPTER}",
    ".lora_down.": f"a LoRA; {ADAPTER}",
    "_lora.down.": f"a LoRA; {ADAPTER}",
    ".lora_linear_layer.": f"a LoRA; {ADAPTER}",
    ".lokr_w": f"a LoKr; {ADAPTER}",
    ".hada_w": f"a LoHa; {ADAPTER}",
}
"""By a substring of its names: what an unreadable checkpoint is, and what to do."""
PARAMETERS = frozenset(["weight", "bias"])


def refuse_side_tensors(tensors: Mapping[str, torch.Tensor], file: str) -> None:
    """Raise LoadFailed if anything beside the weights would be dropped."""
    for part, kind in KINDS.items():
        if any(part in name for name in tensors):
            raise LoadFailed(f"{file} is or holds {kind}")
    unknown = list(_companions(tensors))
    if unknown:
        raise LoadFailed(
            f"{file} has tensors beside its weights whose meaning is not known: {some(unknown)}; {INSTEAD}"
        )
    packed = next((name for name, each in tensors.items() if _is_packed(name, each)), None)
    if packed is not None:
        raise LoadFailed(f"{file} holds weights in whole numbers, such as {packed}; {INSTEAD}")


def _companions(tensors: Mapping[str, torch.Tensor]) -> Iterator[str]:
    """Yield the tensors beside a module's `weight` that are not usual parameters."""
    for name in tensors:
        module, _, last = name.rpartition(".")
        beside = last not in PARAMETERS and f"{module}.weight" in tensors
        if (beside or ".weight." in name) and not name.endswith((*SCALES, *IDLE)):
            yield name


def _is_packed(name: str, tensor: torch.Tensor) -> bool:
    return name.endswith(".weight") and not tensor.is_floating_point()


def unscaled(tensors: Mapping[str, torch.Tensor], dtype: torch.dtype, file: str) -> dict[str, torch.Tensor]:
    """Return the weights, with 8-bit ones converted to `dtype` and multiplied by their scales.

    Raises LoadFailed for a scale that is neither one number nor one for each row of its weight.
    """
    scales = {name: _scale(tensors, name) for name in tensors if not name.endswith((*SCALES, *IDLE))}
    return {name: _as_used(tensors[name], scale, dtype, f"{file}: {name}") for name, scale in scales.items()}


def _scale(tensors: Mapping[str, torch.Tensor], name: str) -> torch.Tensor | None:
    if not name.endswith(".weight"):
        return None
    module = name.removesuffix(".weight")
    return next((tensors[module + ending] for ending in SCALES if module + ending in tensors), None)


def _as_used(weight: torch.Tensor, scale: torch.Tensor | None, dtype: torch.dtype, name: str) -> torch.Tensor:
    if scale is None:
        return weight.to(dtype) if weight.dtype in FLOAT8 else weight
    if scale.numel() not in (1, len(weight)):
        raise LoadFailed(f"{name} has a scale of shape {tuple(scale.shape)}, which is not known; {INSTEAD}")
    return (weight.float() * scale.float().reshape(-1, *[1] * (weight.ndim - 1))).to(dtype)
