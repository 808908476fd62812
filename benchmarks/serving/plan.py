"""How much is measured. Every server gets the same requests, and so generates the same images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.workloads import MOST_CALLERS

ALONE, UNIFORM, MIXED, SHORT, LONG = "alone", "uniform", "mixed", "short", "long"
"""The workloads. SHORT and LONG are the two halves of one: 4-step requests among 50-step ones."""
CALLERS: Mapping[str, int] = {ALONE: 1, UNIFORM: MOST_CALLERS, MIXED: MOST_CALLERS}


@dataclass(frozen=True)
class MeasurementPlan:
    repeats: int
    """Rounds over all servers; results are medians over them."""
    requests: Mapping[str, int]
    """By workload."""
    shorts: int
    shorts_per_s: float
    engine_pairs: int
    """Alternating measurements of the engine and the plain pipeline without HTTP."""
    beyond_engine: int
    """Requests whose time beyond the engine is measured."""


FULL = MeasurementPlan(
    repeats=4,
    requests={ALONE: 10, UNIFORM: 32, MIXED: 48},
    shorts=20,
    shorts_per_s=1.6,
    engine_pairs=9,
    beyond_engine=32,
)
QUICK = MeasurementPlan(
    repeats=1,
    requests={ALONE: 3, UNIFORM: 16, MIXED: 24},
    shorts=8,
    shorts_per_s=1.6,
    engine_pairs=3,
    beyond_engine=8,
)
