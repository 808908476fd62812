"""Components of a model on other devices: which ones are possible, and with which options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated

from pydantic import Field

from models.catalogue.families import TEXT_ENCODERS, CallStage, Family
from models.catalogue.memory.options import Memory

DevicePlace = Annotated[str, Field(pattern=r"^(cpu|[a-z]+:[0-9]+)$")]
"""Such as cpu or cuda:1."""


def component_mistakes(components: Mapping[str, str], family: Family, memory: Memory) -> Iterator[str]:
    """Yield what is wrong with an entry's `components`."""
    stages = (CallStage.ENCODE, CallStage.DECODE)
    encoding = {part.component for part in family.parts if part.stage in stages}
    movable = sorted(encoding - {family.denoiser} | {*TEXT_ENCODERS, "vae"})
    quantized = memory.quantization.components if memory.quantization else ()
    if components and not family.parts:
        yield f"components: cannot be moved in {family.name}, whose calls nobody has declared"
    for name in components if family.parts else ():
        if name not in movable:
            yield f"components.{name}: stays on the model's device; others: {', '.join(movable)}"
        if name in quantized:
            yield f"components.{name}: cannot be combined with memory.quantization of it"
    if components and memory.offload != "none":
        yield "components: cannot be combined with memory.offload"
