"""One model over several devices: the options, and what they cannot be combined with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import Field

from core.validation import Strict
from models.catalogue.addons import LoraSpec
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory, denoisers_of
from models.catalogue.sources import Source

PARALLEL_FAMILIES = (
    "flux",
    "flux-fill",
    "flux-kontext",
    "flux-schnell",
    "flux2",
    "flux2-klein",
    "qwen-image",
    "qwen-image-edit",
    "qwen-image-edit-plus",
    "wan",
    "wan-i2v",
    "wan-ti2v",
)
"""Families whose denoisers have a working `_cp_plan` in diffusers; LTX's does not split its prompts' mask by heads."""

PARALLEL_BACKENDS = frozenset(
    [
        "flash",
        "flash_hub",
        "flash_varlen_hub",
        "_flash_3_hub",
        "_flash_3_varlen_hub",
        "native",
        "_native_cudnn",
        "_native_flash",
        "_native_npu",
        "sage",
        "sage_hub",
    ]
)
"""The attention backends that diffusers registers with `supports_context_parallel`."""

MOST_WITH_MASKS = 2
"""With more processes, diffusers joins masks wrongly where their shares differ in length."""


class Parallel(Strict):
    """Over how many devices of one machine the denoiser is computed, and how."""

    ulysses: int = Field(ge=2)
    """The number of processes that share a picture's positions and attention heads: the runner, and a helper on each of
    the following devices.
    """


def in_a_row(first: str, count: int, there: Sequence[str]) -> tuple[str, ...]:
    """Return `count` devices with consecutive numbers from `first` on, as far as they exist.

    A CPU is used by all processes.
    """
    if first not in there or first == "cpu":
        return (first,)
    place = there.index(first)
    return tuple(there[place : place + count])


def parallel_mistakes(
    parallel: Parallel, family: Family, memory: Memory, source: Source, loras: Mapping[str, LoraSpec]
) -> Iterator[str]:
    """Yield what an entry's `parallel` cannot be combined with."""
    if family.name not in PARALLEL_FAMILIES:
        yield f"parallel: {family.name} cannot be split; families that can: {', '.join(PARALLEL_FAMILIES)}"
    if family.masks and parallel.ulysses > MOST_WITH_MASKS:
        yield f"parallel.ulysses: {family.name} masks the padding of prompts, so at most {MOST_WITH_MASKS}"
    for field in _refused(memory):
        yield f"parallel: cannot be combined with memory.{field}"
    for name in denoisers_of(family):
        if name in memory.storage_dtype:
            yield f"parallel: cannot be combined with memory.storage_dtype of {name}"
    if memory.attention is not None and memory.attention not in PARALLEL_BACKENDS:
        able = ", ".join(sorted(PARALLEL_BACKENDS))
        yield f"parallel: cannot be combined with memory.attention {memory.attention}; choose one of {able}"
    if str(source).endswith(".gguf"):
        yield f"parallel: cannot be combined with source {source}, whose weights are quantized"
    for name, lora in loras.items():
        if not lora.always:
            yield f"parallel: cannot be combined with loras.{name}, unless that is fused by `always: true`"


def _refused(memory: Memory) -> list[str]:
    asked: dict[str, Any] = {name: getattr(memory, name) for name in KEPT_WHOLE}
    unasked = Memory()
    return [name for name, value in asked.items() if value != getattr(unasked, name)]


KEPT_WHOLE = ("offload", "quantization", "compile")
"""Options of `memory` that need one process to have all weights, unsplit."""
