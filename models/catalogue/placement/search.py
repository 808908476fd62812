"""Finds room for replicas that do not all fit when each simply takes the best spot."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isinf

from models.catalogue.memory.needs import DIGITS
from models.catalogue.placement.assignment import Assignment
from models.catalogue.placement.groups import SpotGroup
from models.catalogue.placement.place import Demand

MOST_STEPS = 1000
"""The most assignments examined for one plan, which takes well under a second."""


class Search:
    """A depth-first search, best groups first, so that equal demands always give the same assignment."""

    def __init__(self, empty: Assignment, groups: Mapping[str, Sequence[SpotGroup]], steps: int = MOST_STEPS) -> None:
        """`groups` are the possible places of each model's replicas; `steps` is the budget for all calls together."""
        self._empty = empty
        self._groups = groups
        self._steps_left = steps

    def find(self, demands: Sequence[Demand]) -> Assignment | None:
        """Return an assignment with room for every demand; None if there is none or the steps are used up."""
        narrowest_first = sorted(demands, key=lambda demand: (len(self._groups[demand.model]), -demand.all_gib))
        waiting, seen = [self._empty], set()
        while waiting and self._steps_left:
            self._steps_left -= 1
            tried = waiting.pop()
            rest = narrowest_first[len(tried.placed) :]
            if not rest:
                return tried
            # The order of placement does not matter, only the places.
            same = frozenset(Counter(tried.placed).items())
            if same in seen or self._cannot_hold(tried, rest):
                continue
            seen.add(same)
            groups = tried.with_room(rest[0], self._groups[rest[0].model])
            waiting += [tried.having(rest[0], group) for group in reversed(groups)]
        return None

    def _cannot_hold(self, tried: Assignment, rest: Sequence[Demand]) -> bool:
        """Whether the rest obviously has no room."""
        left_gib = sum(max(0.0, gib) for gib in tried.left_gib.values())
        if round(left_gib - sum(demand.all_gib for demand in rest), DIGITS) < 0:
            return True
        return any(count > self._most(tried, demand, count) for demand, count in Counter(rest).items())

    def _most(self, tried: Assignment, demand: Demand, count: int) -> int:
        """Return an upper bound, at most `count`, on the replicas that would have room if no others were to follow."""
        return sum(_most_on(tried, demand, group, count) for group in self._groups[demand.model])


def _most_on(tried: Assignment, demand: Demand, group: SpotGroup, count: int) -> int:
    if group.crowded:
        count = min(count, 1)
    for device, gib in group.needed_gib(demand).items():
        left_gib = tried.left_gib.get(device, float("inf"))
        if not isinf(left_gib):
            count = min(count, max(0, int(left_gib / gib + 1e-6)))
    return count
