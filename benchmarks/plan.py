"""How much is measured. Every server gets the same requests, and so generates the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Workloads:
    closed: Mapping[str, Mapping[int, int]]
    """Workload -> callers -> requests."""
    open_s: float
    """Seconds of Poisson arrivals at each rate."""
    shorts: int
    shorts_per_s: float
    overhead_pairs: int
    saturation_rounds: int


OPEN_LOADS = (0.5, 0.8, 1.1)
"""Arrivals per second, as shares of the plain server's measured capacity."""
MOST_CALLERS = 16

FULL = Workloads(
    closed={"uniform": {1: 10, 4: 24, 16: 64}, "mixed": {1: 6, 4: 16, 16: 32}},
    open_s=8.0,
    shorts=30,
    shorts_per_s=1.6,
    overhead_pairs=15,
    saturation_rounds=3,
)
QUICK = Workloads(
    closed={"uniform": {1: 2, 4: 4, 16: 16}, "mixed": {1: 3, 4: 6, 16: 16}},
    open_s=2.0,
    shorts=8,
    shorts_per_s=2.0,
    overhead_pairs=3,
    saturation_rounds=1,
)
