"""Where a model's runner needs memory, by the state that it reports."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from models.catalogue.entry import Entry
from models.catalogue.memory.other_processes import gib_beside, gib_for_models, resolved
from models.catalogue.memory.parallel import in_a_row
from runners.state import RunnerState


class MemoryNeed(NamedTuple):
    device: str
    needed_gib: float
    """For one replica."""
    budget_gib: float
    """For all models there."""


def memory_needs_of(
    state: RunnerState, moved_to: str | None, entry: Entry, budget_gib: float | None, beside_gib: Mapping[str, float]
) -> Iterator[MemoryNeed]:
    """Yield what a runner's model, perhaps `moved_to` another device, and its components need.

    Yields nothing when the runner will report an error. `budget_gib` is the operator's, capped at the device's own
    memory less `beside_gib`.
    """
    wanted = wanted_device(state, moved_to)
    if wanted is None or wanted not in (state.devices or ()):
        return
    devices = state.devices or ()
    needed = entry.gib_on(in_a_row(wanted, entry.device_count, devices))
    for device, needed_gib in needed.items():
        if memory_gib := (state.device_memory_gib or {}).get(device):
            beside = gib_beside(beside_gib, device, devices)
            yield MemoryNeed(device, needed_gib, gib_for_models(memory_gib, beside, budget_gib))


def taken_gib(state: RunnerState, entry: Entry) -> Iterator[Mapping[str, float]]:
    """Yield how much of each device's memory a runner's model takes, and what has been loaded beside it."""
    yield entry.gib_on(state.computes_on)
    if state.device is not None:
        yield {state.device: state.addons_gib}


def wanted_device(state: RunnerState, moved_to: str | None) -> str | None:
    """Return where the next load puts the model."""
    return resolved(moved_to, state.devices) if moved_to and state.devices else state.wanted_device
