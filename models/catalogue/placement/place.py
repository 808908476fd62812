"""Where a replica of a model runs."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple


class Place(NamedTuple):
    device: str
    """As operators write it: cuda:0, cpu, or auto where nobody knows what the machine has before torch is there."""
    slot: int = 0
    slots: int = 1
    """Of a CPU: how many replicas share its cores, each with cores of its own."""
    others: tuple[str, ...] = ()
    """The devices of the further processes of a model over several."""

    @property
    def devices(self) -> tuple[str, ...]:
        return (self.device, *self.others)

    def __str__(self) -> str:
        named = " and ".join(self.devices)
        return named if self.slots == 1 else f"{named} (cores {self.slot + 1} of {self.slots})"


@dataclass(frozen=True)
class Spot:
    """A place, and what it has room for; places of one device share its memory."""

    place: Place
    total_gib: float = inf
    free_gib: float = inf
    crowded: bool = False
    """Whether a second replica of a model could only share the first one's cores."""


@dataclass(frozen=True)
class Demand:
    """What is to be placed of one model."""

    model: str
    memory_gib: float
    replicas: int | None = 1
    """None: one on each spot that has room for it once all else is placed."""
    devices: tuple[str, ...] = ()
    """Where it may be; empty: anywhere."""
    device_count: int = 1
    """On how many devices one replica is, whose numbers follow each other; each holds all of its memory."""
    elsewhere_gib: tuple[tuple[str, float], ...] = ()
    """What each replica needs besides on given devices: those of its components."""

    @property
    def all_gib(self) -> float:
        """What one replica takes on the devices that are chosen for it."""
        return self.memory_gib * self.device_count
