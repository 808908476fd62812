"""Where one replica of a model may run: a spot, or several on consecutive devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from core.errors import StartError
from models.catalogue.memory.needs import gib_by_device
from models.catalogue.placement.place import Demand, Place, Spot


@dataclass(frozen=True)
class SpotGroup:
    spots: tuple[Spot, ...]

    @cached_property
    def place(self) -> Place:
        first, *others = self.spots
        return first.place._replace(others=tuple(spot.place.device for spot in others))

    def shares_spots_with(self, other: SpotGroup) -> bool:
        return not self._all_spots.isdisjoint(other.spots)

    @cached_property
    def _all_spots(self) -> frozenset[Spot]:
        return frozenset(self.spots)

    @cached_property
    def crowded(self) -> bool:
        return any(spot.crowded for spot in self.spots)

    @cached_property
    def aligned(self) -> bool:
        """Whether it starts at a multiple of its size; other groups would leave gaps that no group fills."""
        return (_number(self.spots[0]) or 0) % len(self.spots) == 0

    def needed_gib(self, demand: Demand) -> dict[str, float]:
        """Return the GiB that a replica here takes of each device, its components' devices included."""
        return gib_by_device(self.place.devices, demand.memory_gib, dict(demand.elsewhere_gib))


def groups_of(spots: Sequence[Spot], demand: Demand) -> list[SpotGroup]:
    """Return the groups where one replica may run. Raises StartError if there is none."""
    allowed = _allowed(spots, demand)
    by_device = {spot.place.device: spot for spot in allowed}
    groups = [group for spot in allowed if (group := _from(spot, demand.device_count, by_device))]
    if not groups:
        raise StartError(
            f"{demand.model}: parallel: needs {demand.device_count} devices whose numbers follow each other; models "
            f"may have {', '.join(by_device)}"
        )
    return groups


def sizes(groups: Sequence[SpotGroup]) -> str:
    """Describe the memory of the groups' devices."""
    spots = [spot for group in groups for spot in group.spots]
    said = {spot.place.device: f"{spot.free_gib:.1f} of {spot.total_gib:.1f} GiB free" for spot in spots}
    return ", ".join(f"{device} {size}" for device, size in said.items())


def _from(first: Spot, count: int, by_device: dict[str, Spot]) -> SpotGroup | None:
    number = _number(first)
    if number is None:
        # A CPU is used by all processes; which devices other names without a number mean, only torch knows.
        return SpotGroup((first,))
    kind = first.place.device.partition(":")[0]
    found = [by_device.get(f"{kind}:{each}") for each in range(number, number + count)]
    spots = tuple(spot for spot in found if spot is not None)
    return SpotGroup(spots) if len(spots) == count else None


def _number(spot: Spot) -> int | None:
    number = spot.place.device.partition(":")[2]
    return int(number) if number else None


def _allowed(spots: Sequence[Spot], demand: Demand) -> list[Spot]:
    if not demand.devices:
        return list(spots)
    known = {spot.place.device for spot in spots}
    if unknown := [device for device in demand.devices if device not in known]:
        raise StartError(
            f"{demand.model}: devices: {unknown[0]} is not among those that models may have (JUBAKO_DEVICE): "
            f"{', '.join(sorted(known))}"
        )
    return [spot for spot in spots if spot.place.device in demand.devices]
