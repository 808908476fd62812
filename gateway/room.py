"""Where a model's runner needs memory, by what it says of itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from models.catalogue.entry import Entry
from models.catalogue.memory.parallel import in_a_row
from runners.state import RunnerState


class Room(NamedTuple):
    device: str
    needed_gib: float
    """For one replica."""
    budget_gib: float
    """For all models there."""


def rooms_of(state: RunnerState, moved_to: str | None, entry: Entry, budget_gib: float | None) -> Iterator[Room]:
    """Yield where a runner's model goes, maybe `moved_to` another device, and where its components do; nothing when
    the runner will report an error.

    `budget_gib` is the operator's; None means the device's own memory.
    """
    wanted = wanted_device(state, moved_to)
    if wanted is None or wanted not in (state.devices or ()):
        return
    needed = entry.gib_on(in_a_row(wanted, entry.device_count, state.devices or ()))
    for device, needed_gib in needed.items():
        if memory_gib := (state.device_memory_gib or {}).get(device):
            yield Room(device, needed_gib, budget_gib or memory_gib)


def wanted_device(state: RunnerState, moved_to: str | None) -> str | None:
    """Return where the next load puts the model."""
    return _resolved(moved_to, state.devices) if moved_to and state.devices else state.wanted_device


def _resolved(device: str, available: Sequence[str]) -> str:
    """Name a device as its runner does: `models.weights.devices.resolve_device`, without torch."""
    if device == "auto":
        return (available[1:] or available)[0]
    return device if device in available else f"{device}:0"
