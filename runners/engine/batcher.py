"""Policy: which request is served next, and which calls share a forward pass. Knows nothing of torch.

Every request has one number, its urgency, fixed when it is accepted: the tick (forward passes run so far)
at which it ought to be done. A short request is due soon, so it overtakes a long one that came shortly
before it; a long one is overtaken for a bounded time only, since later arrivals are due later and later.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from core.generation.request import Priority
from models.catalogue.families import Stage

STRETCH = 4
"""Ticks allowed per denoising step: a 4-step request overtakes 50-step ones accepted up to 184 ticks ago."""

CLASS_TICKS = 4000
"""What one priority class is worth: more than the stretch of the longest request, so that no length makes up for
a class; a low request yields to normal ones for so many ticks, then advances.
"""

TICKS_EARLIER = {Stage.ENCODE: 1000, Stage.DECODE: 1000, Stage.CONTROL: 500, Stage.DENOISE: 0}
"""How much earlier a stage counts as due: encoding and decoding before the denoising of their own class, not of a
higher one, and ControlNets in between, so that they wait for requests that are about to join.
"""


def urgency(accepted_tick: int, denoising_steps: int, priority: Priority) -> int:
    """The tick at which a request is due; smaller is served first."""
    return accepted_tick + STRETCH * denoising_steps + CLASS_TICKS * priority


class ParkedCall(Protocol):
    """What the policy needs to know of a parked call."""

    @property
    def signature(self) -> Hashable: ...
    @property
    def tokens(self) -> int: ...
    @property
    def stage(self) -> Stage: ...


class Urgent(Protocol):
    @property
    def urgency(self) -> int: ...


class Candidate(Urgent, Protocol):
    """A parked call with the urgency of its request."""

    @property
    def call(self) -> ParkedCall: ...


C = TypeVar("C", bound=Candidate)
U = TypeVar("U", bound=Urgent)


def choose(candidates: Sequence[C], budget: Callable[[C], int]) -> list[C]:
    """Pick the calls of the next forward pass, at least one.

    The call that is due first goes; those of its signature join it in order of urgency while their tokens fit
    into the budget.
    """
    ordered = sorted(candidates, key=_due)
    first = ordered[0]
    tokens_left = budget(first) - first.call.tokens
    batch = [first]
    for candidate in ordered[1:]:
        if candidate.call.signature == first.call.signature and candidate.call.tokens <= tokens_left:
            batch.append(candidate)
            tokens_left -= candidate.call.tokens
    return batch


def _due(candidate: Candidate) -> int:
    return candidate.urgency - TICKS_EARLIER[candidate.call.stage]


class WaitingLine(Generic[U]):
    """Accepted requests that have not started, most urgent first."""

    def __init__(self) -> None:
        self._tickets: list[U] = []

    def __len__(self) -> int:
        return len(self._tickets)

    def __iter__(self) -> Iterator[U]:
        return iter(self._tickets)

    @property
    def first(self) -> U:
        return self._tickets[0]

    def add(self, ticket: U) -> None:
        insort(self._tickets, ticket, key=lambda each: each.urgency)

    def remove(self, ticket: U) -> None:
        self._tickets.remove(ticket)
