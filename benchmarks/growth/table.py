"""A table and a plot of the measurements, compared with the ideal and as slopes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.growth.axes import CALLERS_AXIS, Measured

HEAD = "| axis | value | measured | ideal | share of the ideal | slope | |\n| --- | --- | --- | --- | --- | --- | --- |"


def table(found: Sequence[Measured]) -> str:
    return "\n".join([HEAD, *(row for line in _lines(found) for row in _rows(line))])


def ideals(line: Sequence[Measured]) -> list[float]:
    """Return the ideal for each value of an axis; for callers, at most that many times what a single one gets."""
    best = (max if line[0].more_is_better else min)(each.measured for each in line)
    if line[0].axis == CALLERS_AXIS:
        return [min(best, each.value / line[0].value * line[0].measured) for each in line]
    return [best for _ in line]


def shares(line: Sequence[Measured]) -> list[float]:
    """Return the share of the ideal that is reached: 1 is all of it, whether more or less is better."""
    return [
        each.measured / ideal if each.more_is_better else ideal / each.measured
        for each, ideal in zip(line, ideals(line), strict=True)
    ]


def slopes(line: Sequence[Measured]) -> list[float | None]:
    """Return the exponents with which the measurement grows between values: 0 is constant, 1 proportional."""
    pairs = pairwise(line)
    return [None, *(log(later.measured / each.measured) / log(later.value / each.value) for each, later in pairs)]


def plot(found: Sequence[Measured], file: Path) -> None:
    """Draw the share of the ideal over each axis."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    plotted = figure.subplots()
    for line in _lines(found):
        times = [each.value / line[0].value for each in line]
        plotted.plot(times, shares(line), marker="o", label=f"{line[0].axis}, {line[0].unit}")
    plotted.set(xscale="log", xlabel="times the smallest value", ylabel="share of the ideal", ylim=(0, 1.1))
    plotted.legend(fontsize="small")
    figure.savefig(file, dpi=110)


def _lines(found: Sequence[Measured]) -> list[list[Measured]]:
    """Return the values of one axis and unit together, the smallest first."""
    keys = dict.fromkeys((each.axis, each.unit) for each in found)
    return [sorted((m for m in found if (m.axis, m.unit) == key), key=lambda each: each.value) for key in keys]


def _rows(line: Sequence[Measured]) -> Iterator[str]:
    for each, ideal, share, slope in zip(line, ideals(line), shares(line), slopes(line), strict=True):
        grown = "" if slope is None else f"{slope:+.2f}"
        amount = f"{each.measured:.3g} {each.unit}"
        yield f"| {each.axis} | {each.value:,} | {amount} | {ideal:.3g} | {share:.0%} | {grown} | {each.note} |"
