"""Devices: which are there, how much memory they have, and giving it back."""

from __future__ import annotations

import gc
import os
from contextlib import AbstractContextManager
from functools import cache

import torch

from core.errors import InvalidRequest
from models.catalogue.memory.parallel import in_a_row
from models.weights.drivers import unused_card
from processes.allocator import trim


def resolve_device(wanted: str) -> str:
    """Turn `auto` into the first accelerator, or `cpu`, and number the others.

    Raises InvalidRequest for one that is not there, and where the driver is too old for torch to use the machine's
    card: on the CPU, everything would be a hundred times slower.
    """
    there = available_devices()
    if wanted != "cpu" and len(there) == 1 and (reason := unused_card(wanted)) is not None:
        raise InvalidRequest("device", reason)
    if wanted == "auto":
        return there[1] if len(there) > 1 else "cpu"
    numbered = wanted if wanted == "cpu" or ":" in wanted else f"{wanted}:0"
    if numbered not in there:
        raise InvalidRequest("device", f"there is no {wanted} on this machine; it has {', '.join(there)}")
    return numbered


def available_devices() -> list[str]:
    """`cpu`, and each accelerator with its number."""
    kind = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return ["cpu", *(f"{kind.type}:{number}" for number in range(torch.accelerator.device_count()) if kind)]


def devices_from(first: str, count: int) -> list[str]:
    """Return as many accelerators, by their numbers from `first` on; of a CPU, it alone for all.

    Raises InvalidRequest when there are not that many.
    """
    if first == "cpu":
        return [first] * count
    found = list(in_a_row(first, count, available_devices()))
    if len(found) < count:
        raise InvalidRequest("parallel", f"needs {count} devices from {first} on; there are {', '.join(found)}")
    return found


def current_device(device: str | torch.device) -> AbstractContextManager[None]:
    """Let `cuda` without a number, as libraries write it, mean this device during the block, in the calling thread.

    Without it, a runner whose model is on another card would also take memory on the first.
    """
    return torch.accelerator.device_index(_index(device))


def use_device(device: torch.device) -> None:
    """The same for all that the calling thread is yet to do."""
    if (index := _index(device)) is not None:
        torch.accelerator.set_device_index(index)


def _index(device: str | torch.device) -> int | None:
    device = torch.device(device)
    return None if device.type == "cpu" else device.index


@cache
def device_memory_gib(device: str) -> float:
    """All memory of a device; of a CPU and of Apple's GPUs, that of the machine."""
    if torch.device(device).type in ("cpu", "mps"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    total: int = torch.get_device_module(device).get_device_properties(device).total_memory
    return total / 2**30


def allocated_gib(device: str) -> float | None:
    """What torch has allocated on an accelerator; None for a CPU, where it keeps no count."""
    if device == "cpu":
        return None
    return float(torch.accelerator.memory_allocated(device)) / 2**30


def free_memory() -> None:
    """Give back what nothing refers to; pipelines are full of reference cycles."""
    gc.collect()
    trim()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
