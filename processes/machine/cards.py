"""The NVIDIA cards that a process may use, by the names that torch has for them. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from processes.machine.nvml import Room, rooms

ORDER = "CUDA_DEVICE_ORDER"
VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Card:
    device: str
    """As torch names it in a process that counts cards as NVML does (`count_as_nvml`)."""
    total_gib: float
    free_gib: float


def list_cards() -> list[Card]:
    """Return the cards: none without a driver, or where torch is built for CPUs."""
    if _torch_is_for_cpus():
        return []
    found = visible(rooms(), os.environ.get(VISIBLE))
    return [Card(f"cuda:{number}", room.total_gib, room.free_gib) for number, room in enumerate(found)]


def count_as_nvml() -> None:
    """Have torch number the cards as NVML does, here and in child processes; by itself it has the fastest first."""
    os.environ.setdefault(ORDER, "PCI_BUS_ID")


def visible(every: Sequence[Room], variable: str | None) -> list[Room]:
    """Return the cards of CUDA_VISIBLE_DEVICES, in its order; CUDA ignores all names after the first unknown one."""
    if variable is None:
        return list(every)
    chosen = []
    for name in (part.strip() for part in variable.split(",")):
        found = next((room for number, room in enumerate(every) if name and _is(name, number, room.uuid)), None)
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
