"""One model over several devices: what an entry asks for, and what that goes together with."""

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
"""Those whose denoisers have a `_cp_plan` in diffusers that works: LTX's splits the mask of its prompts by no head."""

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
"""diffusers joins the masks of more processes wrongly where their shares differ in length."""


class Parallel(Strict):
    """Over how many devices of one machine the denoiser is computed, and how."""

    ulysses: int = Field(ge=2)
    """Processes that share the positions of a picture, and the heads of its attention: the runner, and a helper on each
    of the following devices.
    """


def in_a_row(first: str, count: int, there: Sequence[str]) -> tuple[str, ...]:
    """Return the devices of so many processes, by their numbers from `first` on, as far as these are there.

    A CPU is there for all of them.
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
"""Options of `memory` for weights that one process has, as they were read."""
