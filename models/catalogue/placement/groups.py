"""Where one replica of a model may be: a spot, or several whose devices follow each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core.errors import StartError
from models.catalogue.placement.place import Place, Spot, Wish


@dataclass(frozen=True)
class Group:
    spots: tuple[Spot, ...]

    @property
    def place(self) -> Place:
        first, *others = self.spots
        return first.place._replace(others=tuple(spot.place.device for spot in others))

    @property
    def crowded(self) -> bool:
        return any(spot.crowded for spot in self.spots)

    @property
    def aligned(self) -> bool:
        """Whether groups of this size, from the first device on, include it: the others divide what is left badly."""
        return (_number(self.spots[0]) or 0) % len(self.spots) == 0


def groups_of(spots: Sequence[Spot], wish: Wish) -> list[Group]:
    """Return where one replica may be. Raises StartError if that is nowhere."""
    allowed = _allowed(spots, wish)
    by_device = {spot.place.device: spot for spot in allowed}
    groups = [group for spot in allowed if (group := _from(spot, wish.device_count, by_device))]
    if not groups:
        raise StartError(
            f"{wish.model}: parallel: needs {wish.device_count} devices whose numbers follow each other; models may "
            f"have {', '.join(by_device)}"
        )
    return groups


def sizes(groups: Sequence[Group]) -> str:
    """Say how large their devices are."""
    spots = [spot for group in groups for spot in group.spots]
    said = {spot.place.device: f"{spot.free_gib:.1f} of {spot.total_gib:.1f} GiB free" for spot in spots}
    return ", ".join(f"{device} {size}" for device, size in said.items())


def _from(first: Spot, count: int, by_device: dict[str, Spot]) -> Group | None:
    number = _number(first)
    if number is None:
        # A CPU is there for all processes; of others without a number, only torch knows what there is.
        return Group((first,))
    kind = first.place.device.partition(":")[0]
    found = [by_device.get(f"{kind}:{each}") for each in range(number, number + count)]
    spots = tuple(spot for spot in found if spot is not None)
    return Group(spots) if len(spots) == count else None


def _number(spot: Spot) -> int | None:
    number = spot.place.device.partition(":")[2]
    return int(number) if number else None


def _allowed(spots: Sequence[Spot], wish: Wish) -> list[Spot]:
    if not wish.devices:
        return list(spots)
    known = {spot.place.device for spot in spots}
    if unknown := [device for device in wish.devices if device not in known]:
        raise StartError(
            f"{wish.model}: devices: {unknown[0]} is not among those that models may have (JUBAKO_DEVICE): "
            f"{', '.join(sorted(known))}"
        )
    return [spot for spot in spots if spot.place.device in wish.devices]
