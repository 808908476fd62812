"""Replicas assigned to groups of spots, and the memory that they leave."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from models.catalogue.memory.needs import DIGITS
from models.catalogue.placement.groups import SpotGroup
from models.catalogue.placement.place import Demand


class GroupRank(NamedTuple):
    """How well a group suits one more replica; smaller is better."""

    own_replicas: int
    """Of the same model, on its spots."""
    lacks_room: bool
    unaligned: bool
    """Whether it leaves room for fewer other groups."""
    minus_left_gib: float
    """The memory that would be left on its fullest device, negated, so that the most comes first."""
    replicas: int
    """Of any model, on its spots."""


@dataclass(frozen=True)
class Assignment:
    left_gib: Mapping[str, float]
    """By device; negative where models take turns in memory."""
    placed: tuple[tuple[Demand, SpotGroup], ...] = ()
    """An item for each replica, in order of placement."""

    def having(self, demand: Demand, group: SpotGroup) -> Assignment:
        """Return the assignment with one more replica."""
        needed = group.needed_gib(demand)
        left = {device: round(gib - needed.get(device, 0.0), DIGITS) for device, gib in self.left_gib.items()}
        return Assignment(left, (*self.placed, (demand, group)))

    def rank(self, demand: Demand, group: SpotGroup) -> GroupRank:
        needed = group.needed_gib(demand)
        left_gib = min(self.left_gib[device] - gib for device, gib in needed.items() if device in self.left_gib)
        sharing = [other for other, there in self.placed if group.shares_spots_with(there)]
        own = sum(other.model == demand.model for other in sharing)
        return GroupRank(own, round(left_gib, DIGITS) < 0, not group.aligned, -left_gib, len(sharing))

    def with_room(self, demand: Demand, groups: Sequence[SpotGroup]) -> list[SpotGroup]:
        """Return the groups that have room for one more replica, the best first."""
        ranked = [(self.rank(demand, group), group) for group in groups]
        fitting = [(rank, group) for rank, group in ranked if not (rank.lacks_room or _would_crowd(rank, group))]
        return [group for _, group in sorted(fitting, key=lambda item: item[0])]

    def best(self, demand: Demand, groups: Sequence[SpotGroup]) -> SpotGroup:
        """Return the best group, whether it has room or not."""
        return min(groups, key=lambda group: self.rank(demand, group))

    def of(self, model: str) -> Iterator[SpotGroup]:
        """Yield the groups of a model's replicas."""
        return (group for demand, group in self.placed if demand.model == model)


def _would_crowd(rank: GroupRank, group: SpotGroup) -> bool:
    return group.crowded and rank.own_replicas > 0
