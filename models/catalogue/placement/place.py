"""Places where replicas run, and what is to be placed."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import NamedTuple


class Place(NamedTuple):
    device: str
    """As operators write it: cuda:0, cpu, or auto where only torch can tell what the machine has."""
    slot: int = 0
    slots: int = 1
    """For a CPU: how many replicas its cores are divided among."""
    others: tuple[str, ...] = ()
    """The devices of the other processes of a model over several devices."""

    @property
    def devices(self) -> tuple[str, ...]:
        return (self.device, *self.others)

    def __str__(self) -> str:
        named = " and ".join(self.devices)
        return named if self.slots == 1 else f"{named} (cores {self.slot + 1} of {self.slots})"


@dataclass(frozen=True)
class Spot:
    """A place and its memory, which is shared by all places on the same device."""

    place: Place
    total_gib: float = inf
    free_gib: float = inf
    crowded: bool = False
    """Whether a second replica of a model here would only compete with the first for the same cores."""


@dataclass(frozen=True)
class Demand:
    """What one model needs to be placed."""

    model: str
    memory_gib: float
    replicas: int | None = 1
    """None: one on each spot that has room for it once all else is placed."""
    devices: tuple[str, ...] = ()
    """The devices it may use; empty: any."""
    device_count: int = 1
    """The number of consecutive devices for one replica, each of which needs the full `memory_gib`."""
    elsewhere_gib: tuple[tuple[str, float], ...] = ()
    """What each replica's components need on the devices that the entry gives them."""

    @property
    def all_gib(self) -> float:
        """What one replica takes on the devices that are chosen for it."""
        return self.memory_gib * self.device_count
