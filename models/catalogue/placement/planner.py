"""Assigns replicas to spots by free memory; knows nothing of this machine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.errors import StartError
from models.catalogue.placement.groups import Group, groups_of, sizes
from models.catalogue.placement.place import Place, Spot, Wish


@dataclass(frozen=True)
class Plan:
    places: Mapping[str, tuple[Place, ...]]
    """Of each model's replicas, at least one."""
    notes: tuple[str, ...] = ()
    """What an operator should know of it."""


def plan(spots: Sequence[Spot], wishes: Sequence[Wish]) -> Plan:
    """Place one replica of each model, the largest first, then further ones, then the models that are to fill the rest.

    A single replica that finds no room goes where most is left: models on one device make room for each other. Raises
    StartError for devices that are not there, and for more replicas than fit.
    """
    desk = _Desk(spots, wishes)
    largest_first = sorted(wishes, key=lambda wish: -wish.memory_gib * wish.device_count)
    counted = [wish for wish in largest_first if wish.replicas is not None]
    filling = [wish for wish in largest_first if wish.replicas is None]
    for wish in counted:
        desk.put_first(wish)
    for wish in counted:
        desk.put_further(wish)
    for wish in filling:
        desk.put_first(wish)
    desk.fill(filling)
    places = {wish.model: tuple(group.place for group in desk.there[wish.model]) for wish in wishes}
    return Plan(places, tuple(desk.notes(wishes)))


class _Desk:
    """What is placed so far, and what is left."""

    def __init__(self, spots: Sequence[Spot], wishes: Sequence[Wish]) -> None:
        """Raises StartError where a model may be nowhere."""
        self._left_gib = {spot.place.device: spot.free_gib for spot in spots}
        self._taken: Counter[Spot] = Counter()
        self._groups = {wish.model: groups_of(spots, wish) for wish in wishes}
        self.there: dict[str, list[Group]] = {wish.model: [] for wish in wishes}

    def put_first(self, wish: Wish) -> None:
        """Place a replica where it has room, or else where most is left."""
        self._put(wish, self._groups[wish.model])

    def put_further(self, wish: Wish) -> None:
        """Place the second and further replicas. Raises StartError for the first one without room."""
        for number in range(2, (wish.replicas or 1) + 1):
            free = self._with_room(wish)
            if not free:
                raise StartError(self._too_many(wish, number - 1))
            self._put(wish, free)

    def fill(self, wishes: Sequence[Wish]) -> None:
        """Place one more of each model in turn, wherever one has room and is not yet."""
        unfinished = list(wishes)
        while unfinished:
            for wish in list(unfinished):
                if free := [group for group in self._with_room(wish) if not self._already(wish, group)]:
                    self._put(wish, free)
                else:
                    unfinished.remove(wish)

    def notes(self, wishes: Sequence[Wish]) -> Iterator[str]:
        for wish in wishes:
            groups = self._groups[wish.model]
            if all(wish.memory_gib > spot.total_gib for group in groups for spot in group.spots):
                yield (
                    f"{wish.model} needs {wish.memory_gib:g} GiB, and no device has as much: {sizes(groups)}; with "
                    "`memory: {offload: model}` in its entry, most of its weights wait in main memory"
                )

    def _put(self, wish: Wish, groups: Sequence[Group]) -> None:
        best = min(groups, key=lambda group: self._rank(wish, group))
        self.there[wish.model].append(best)
        for spot in best.spots:
            self._left_gib[spot.place.device] -= wish.memory_gib
            self._taken[spot] += 1

    def _rank(self, wish: Wish, group: Group) -> tuple[int, bool, bool, float, int]:
        """Least first: with least replicas of this model, with room, so that others fit beside it, with most memory
        left, with least replicas of any.
        """
        left_gib = self._left_gib_of(group)
        taken = sum(self._taken[spot] for spot in group.spots)
        return self._already(wish, group), left_gib < wish.memory_gib, not group.aligned, -left_gib, taken

    def _already(self, wish: Wish, group: Group) -> int:
        """Return how many replicas of a model share spots with a group."""
        return sum(not set(other.spots).isdisjoint(group.spots) for other in self.there[wish.model])

    def _with_room(self, wish: Wish) -> list[Group]:
        return [
            group
            for group in self._groups[wish.model]
            if self._left_gib_of(group) >= wish.memory_gib and not (group.crowded and self._already(wish, group))
        ]

    def _left_gib_of(self, group: Group) -> float:
        return min(self._left_gib[spot.place.device] for spot in group.spots)

    def _too_many(self, wish: Wish, most: int) -> str:
        groups = self._groups[wish.model]
        asked = f"JUBAKO_REPLICAS: {wish.model}:{wish.replicas} is more than the {most} that fit"
        if all(group.crowded for group in groups):
            names = ", ".join(str(group.place) for group in groups)
            more = "; JUBAKO_DEVICE=cpu:N divides the cores among N replicas" if "cpu" in names else ""
            return f"{asked}: one on each of {names}{more}"
        each = f"{wish.memory_gib:g} GiB each" + (f" on {wish.device_count} devices" if wish.device_count > 1 else "")
        return f"{asked}, at {each} beside the other models: {sizes(groups)}"
