"""Figures of each NVIDIA card that this process sees: its memory from torch, and more from NVML."""

from __future__ import annotations

from typing import Any

import torch

from models.weights.devices import available_devices
from processes.machine.nvml import reading
from runners.state import Card


def cards() -> dict[str, Card]:
    """Return the cards by device name; empty without CUDA."""
    return {name: _card(name) for name in available_devices() if name.startswith("cuda")}


def _card(device: str) -> Card:
    properties: Any = torch.cuda.get_device_properties(device)
    said = reading(f"GPU-{properties.uuid}")
    return Card(
        allocated_gib=_gib(torch.cuda.memory_allocated(device)),
        reserved_gib=_gib(torch.cuda.memory_reserved(device)),
        peak_gib=_gib(torch.cuda.max_memory_allocated(device)),
        total_gib=_gib(properties.total_memory),
        utilisation=said.utilisation,
        temperature_c=said.temperature_c,
        used_gib=said.used_gib if said.used_gib is None else round(said.used_gib, 3),
    )


def _gib(count_bytes: int) -> float:
    return round(count_bytes / 2**30, 3)
