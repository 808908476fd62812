"""A measured value and its target."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    title: str
    value: float
    bound: float
    at_most: bool

    @property
    def reached(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign, verdict = "<=" if self.at_most else ">=", "reached" if self.reached else "MISSED"
        return f"{verdict:8}{self.title}: {self.value:.3g} ({sign} {self.bound:.3g})"
