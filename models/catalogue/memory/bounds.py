"""How much of a device's memory a replica may use, given the others that are placed there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import inf

from models.catalogue.memory.needs import DIGITS
from models.catalogue.memory.other_processes import gib_for_models


@dataclass(frozen=True)
class MemoryBounds:
    """The other replicas, as they were placed at the start, and what the operator allows."""

    others_gib: tuple[Mapping[str, float], ...] = ()
    """The most that each other replica may need, by device, including ControlNets and IP-Adapter, loaded or not."""
    budget_gib: float | None = None
    """The limit for all models on one device (JUBAKO_MEMORY_BUDGET_GIB); None: the whole device."""
    fit_gib: float | None = None
    """The limit for one model on one device (JUBAKO_FIT)."""
    beside_gib: Mapping[str, float] = field(default_factory=dict)
    """What other processes take, by device."""

    def named(self, name_of: Callable[[str], str]) -> MemoryBounds:
        """Return the bounds with devices renamed."""
        *others, beside = (
            {name_of(device): gib for device, gib in each.items()} for each in (*self.others_gib, self.beside_gib)
        )
        return replace(self, others_gib=tuple(others), beside_gib=beside)

    def share_gib(self, device: str, total_gib: float, full_gib: float) -> float:
        """Return how much of a device a replica may use that needs up to `full_gib` of it.

        What no replica needs is divided evenly. Replicas that do not all fit make room for each other, so each gets the
        most that it may need.
        """
        others = [other[device] for other in self.others_gib if device in other]
        for_models_gib = gib_for_models(total_gib, self.beside_gib.get(device, 0.0), self.budget_gib)
        left_gib = for_models_gib - full_gib - sum(others)
        share = full_gib + max(0.0, left_gib) / (1 + len(others))
        return round(min(share, total_gib, self.fit_gib or inf), DIGITS)
