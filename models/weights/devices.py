"""Devices: which ones exist, how much memory they have, and how to free it."""

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
    """Turn `auto` into the first accelerator, or else `cpu`, and add the number to other names that lack it.

    Raises InvalidRequest for a device that does not exist, or if the driver is too old for torch to use the machine's
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
    """Return `count` accelerators with consecutive numbers from `first` on, or as many times `cpu`, if that is `first`.

    Raises InvalidRequest if there are not that many.
    """
    if first == "cpu":
        return [first] * count
    found = list(in_a_row(first, count, available_devices()))
    if len(found) < count:
        raise InvalidRequest("parallel", f"needs {count} devices from {first} on; there are {', '.join(found)}")
    return found


def current_device(device: str | torch.device) -> AbstractContextManager[None]:
    """Let `cuda` without a number, as libraries write it, mean this device in the calling thread during the block.

    Otherwise a runner whose model is on another card would also take memory on the first.
    """
    return torch.accelerator.device_index(_index(device))


def use_device(device: torch.device) -> None:
    """The same for everything that the calling thread does from now on."""
    if (index := _index(device)) is not None:
        torch.accelerator.set_device_index(index)


def _index(device: str | torch.device) -> int | None:
    device = torch.device(device)
    return None if device.type == "cpu" else device.index


@cache
def device_memory_gib(device: str) -> float:
    """Return a device's total memory; for a CPU and Apple's GPUs, the machine's."""
    if torch.device(device).type in ("cpu", "mps"):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    total: int = torch.get_device_module(device).get_device_properties(device).total_memory
    return total / 2**30


def allocated_gib(device: str) -> float | None:
    """Return what torch has allocated on an accelerator; None for a CPU, where torch does not count."""
    if device == "cpu":
        return None
    return float(torch.accelerator.memory_allocated(device)) / 2**30


def free_memory() -> None:
    """Free the memory of objects that nothing refers to; pipelines are full of reference cycles."""
    gc.collect()
    trim()
    if torch.accelerator.is_available():
        torch.accelerator.empty_cache()
