"""Assigns replicas to spots by free memory; knows nothing of this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.errors import StartError
from models.catalogue.placement.assignment import Assignment
from models.catalogue.placement.groups import groups_of, sizes
from models.catalogue.placement.place import Demand, Place, Spot
from models.catalogue.placement.search import Search


@dataclass(frozen=True)
class PlacementPlan:
    places: Mapping[str, tuple[Place, ...]]
    """The places of each model's replicas, at least one each."""
    notes: tuple[str, ...] = ()
    """Remarks for the operator."""


def plan(spots: Sequence[Spot], demands: Sequence[Demand]) -> PlacementPlan:
    """Place one replica of each model, largest first, then further replicas, then the models that fill what is left.

    Each goes to the best spot with room; if there is none, those placed before may be moved. If a model's first replica
    still finds none, it goes where most is left, to take turns with the others there. Raises StartError for devices
    that do not exist, and for more replicas than fit.
    """
    planner = _Planner(spots, demands)
    largest_first = sorted(demands, key=lambda demand: -demand.all_gib)
    counted = [demand for demand in largest_first if demand.replicas is not None]
    filling = [demand for demand in largest_first if demand.replicas is None]
    for demand in counted:
        planner.put_first(demand)
    for demand in counted:
        planner.put_further(demand)
    for demand in filling:
        planner.put_first(demand)
    planner.put_those_without_room()
    planner.fill(filling)
    places = {demand.model: tuple(group.place for group in planner.assigned.of(demand.model)) for demand in demands}
    return PlacementPlan(places, tuple(planner.notes(demands)))


class _Planner:
    def __init__(self, spots: Sequence[Spot], demands: Sequence[Demand]) -> None:
        """Raises StartError if a model has no possible place."""
        self._groups = {demand.model: groups_of(spots, demand) for demand in demands}
        self.assigned = Assignment({spot.place.device: spot.free_gib for spot in spots})
        self._search = Search(self.assigned, self._groups)
        self._without_room: list[Demand] = []

    def put_first(self, demand: Demand) -> None:
        """Place the first replica, or note that there is no room for it."""
        if not self._put(demand):
            self._without_room.append(demand)

    def put_further(self, demand: Demand) -> None:
        """Place the second and further replicas. Raises StartError if one has no room."""
        for number in range(2, (demand.replicas or 1) + 1):
            if not self._put(demand):
                raise StartError(self._too_many(demand, number - 1))

    def put_those_without_room(self) -> None:
        """Place the models without room where most is left."""
        for demand in self._without_room:
            best = self.assigned.best(demand, self._groups[demand.model])
            self.assigned = self.assigned.having(demand, best)

    def fill(self, demands: Sequence[Demand]) -> None:
        """Place one more replica of each model in turn, while one has room on a spot that has none of its model."""
        unfinished = list(demands)
        while unfinished:
            for demand in list(unfinished):
                free = self.assigned.with_room(demand, self._groups[demand.model])
                if free and not self.assigned.rank(demand, free[0]).own_replicas:
                    self.assigned = self.assigned.having(demand, free[0])
                else:
                    unfinished.remove(demand)

    def notes(self, demands: Sequence[Demand]) -> Iterator[str]:
        for demand in demands:
            groups = self._groups[demand.model]
            if all(demand.memory_gib > spot.total_gib for group in groups for spot in group.spots):
                yield (
                    f"{demand.model} needs {demand.memory_gib:g} GiB, and no device has as much: {sizes(groups)}; with "
                    "`memory: {offload: model}` in its entry, most of its weights wait in main memory"
                )

    def _put(self, demand: Demand) -> bool:
        """Place a replica if there is room, moving others if needed; return whether there was."""
        if free := self.assigned.with_room(demand, self._groups[demand.model]):
            self.assigned = self.assigned.having(demand, free[0])
            return True
        moved = self._search.find([*(other for other, _ in self.assigned.placed), demand])
        self.assigned = moved or self.assigned
        return moved is not None

    def _too_many(self, demand: Demand, most: int) -> str:
        groups = self._groups[demand.model]
        asked = f"JUBAKO_REPLICAS: {demand.model}:{demand.replicas} is more than the {most} that fit"
        if all(group.crowded for group in groups):
            names = ", ".join(str(group.place) for group in groups)
            more = "; JUBAKO_DEVICE=cpu:N divides the cores among N replicas" if "cpu" in names else ""
            return f"{asked}: one on each of {names}{more}"
        several = f" on {demand.device_count} devices" if demand.device_count > 1 else ""
        return f"{asked}, at {demand.memory_gib:g} GiB each{several} beside the other models: {sizes(groups)}"
