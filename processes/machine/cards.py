"""The NVIDIA cards that a process may use, by the names that torch has for them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from processes.machine.nvml import CardMemory, card_memories

ORDER = "CUDA_DEVICE_ORDER"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class UsableCard:
    device: str
    """Torch's name for it in a process that numbers cards as NVML does (`count_as_nvml`)."""
    total_gib: float
    free_gib: float


def usable_cards() -> list[UsableCard]:
    """Return the cards: none without a driver, or where torch is built for CPUs."""
    if _torch_is_for_cpus():
        return []
    found = visible(card_memories(), os.environ.get(VISIBLE))
    return [UsableCard(f"cuda:{number}", card.total_gib, card.free_gib) for number, card in enumerate(found)]


def count_as_nvml() -> None:
    """Have torch number cards as NVML does, here and in child processes; its default is fastest first."""
    os.environ.setdefault(ORDER, "PCI_BUS_ID")


def visible(every: Sequence[CardMemory], variable: str | None) -> list[CardMemory]:
    """Return the cards of CUDA_VISIBLE_DEVICES, in its order; CUDA ignores all names after the first unknown one."""
    if variable is None:
        return list(every)
    chosen = []
    for name in (part.strip() for part in variable.split(",")):
        found = next((card for number, card in enumerate(every) if name and _is(name, number, card.uuid)), None)
        if found is None:
            break
        chosen.append(found)
    return chosen


def _is(name: str, number: int, uuid: str) -> bool:
    return name == str(number) or (name.startswith("GPU-") and uuid.startswith(name))


def _torch_is_for_cpus() -> bool:
    try:
        return version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return True
