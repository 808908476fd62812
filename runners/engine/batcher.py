"""Policy: which request is served next, and which calls share a forward pass. Knows nothing of torch.

Every request gets one number when it is accepted, its urgency: the tick (number of forward passes so far)
at which it should be done. A short request is due soon, so it overtakes a long one that came shortly
before it. A long one is overtaken only for a bounded time, since later arrivals are due later and later.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from core.generation.request import Priority
from models.catalogue.families import CallStage

STRETCH = 4
"""Ticks allowed per denoising step: a 4-step request overtakes 50-step ones accepted up to 184 ticks ago."""

CLASS_TICKS = 4000
"""What one priority class is worth: more than the stretch of the longest request, so that the class outweighs any
difference in length. A low request yields to normal ones for this many ticks at most.
"""

TICKS_EARLIER = {CallStage.ENCODE: 1000, CallStage.DECODE: 1000, CallStage.CONTROL: 500, CallStage.DENOISE: 0}
"""How much earlier than its request a stage counts as due. Encoding and decoding go before denoising of the same
class, but not of a higher one. ControlNets come in between, so that they wait for requests that are about to join.
"""


def urgency(accepted_tick: int, denoising_steps: int, priority: Priority) -> int:
    """The tick at which a request is due; smaller is served first."""
    return accepted_tick + STRETCH * denoising_steps + CLASS_TICKS * priority


class ParkedCall(Protocol):
    """What the policy needs to know about a parked call."""

    @property
    def signature(self) -> Hashable: ...
    @property
    def tokens(self) -> int: ...
    @property
    def stage(self) -> CallStage: ...


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

    The call that is due first goes; others with its signature join in order of urgency while their tokens fit into
    the budget.
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
