"""Figures as JSON lines, and as a table. Imports no torch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from benchmarks.gpu.stages import STAGES

NAMES = ("stage", "what")


def line(figure: Mapping[str, Any]) -> str:
    return json.dumps({name: _rounded(value) for name, value in figure.items() if value is not None})


def _rounded(value: Any) -> Any:
    return round(value, 4) if isinstance(value, float) else value


def table(figures: Sequence[Mapping[str, Any]]) -> str:
    """Return the figures by stage, each under its title and the expected result."""
    return "\n".join(_lines(figures))


def _lines(figures: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for stage, own in groupby(figures, key=lambda figure: figure["stage"]):
        yield f"\n{stage}"
        if stage in STAGES:
            yield f"  expected: {STAGES[stage].expected}"
        for figure in own:
            values = (f"{name} {_short(value)}" for name, value in figure.items() if name not in NAMES)
            yield f"  {figure['what']:<58} {', '.join(values)}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
