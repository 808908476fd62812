"""Device memory that is taken by the server's other processes, which is that of the upscaling model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import inf


def gib_beside(beside_gib: Mapping[str, float], device: str, there: Sequence[str]) -> float:
    """Return the GiB of a device that other processes take; `there` are all devices, by the names runners report."""
    return sum(gib for name, gib in beside_gib.items() if there and resolved(name, there) == device)


def gib_for_models(size_gib: float, beside_gib: float, budget_gib: float | None) -> float:
    """Return the GiB of a device that models may have: what other processes leave, up to the budget."""
    return min(max(0.0, size_gib - beside_gib), inf if budget_gib is None else budget_gib)


def resolved(device: str, there: Sequence[str]) -> str:
    """Name a device as its runner does: `models.weights.devices.resolve_device`, without torch."""
    if device == "auto":
        return (there[1:] or there)[0]
    return device if device in there else f"{device}:0"
