"""What the server's other processes take of a device beside the models: that of the upscaling model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


def gib_beside(beside_gib: Mapping[str, float], device: str, there: Sequence[str]) -> float:
    """Return what is beside the models on a device; `there` are all devices, by the names that runners report."""
    return sum(gib for name, gib in beside_gib.items() if there and resolved(name, there) == device)


def resolved(device: str, there: Sequence[str]) -> str:
    """Name a device as its runner does: `models.weights.devices.resolve_device`, without torch."""
    if device == "auto":
        return (there[1:] or there)[0]
    return device if device in there else f"{device}:0"
