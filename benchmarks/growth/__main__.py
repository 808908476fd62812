"""Measure how cost grows: `make benchmark-growth` prints a table and draws a plot. Half an hour on two cores."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.growth import axes
from benchmarks.growth.axes import Measured
from benchmarks.growth.table import plot, table
from benchmarks.serving.documents import filled

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "growth.md"
PLOT = "![The share of the ideal, over how many times the smallest value](../benchmarks/results/growth.png)"
BEGIN = "<!-- `make benchmark-growth` writes from here -->"
AXES: dict[str, Callable[[int], AsyncIterator[Measured]]] = {
    "callers": axes.callers,
    "queue": lambda _: axes.queue(),
    "models": axes.models,
    "steps": axes.steps,
    "sizes": axes.sizes,
}


async def measure(names: Sequence[str], rounds: int) -> list[Measured]:
    found = []
    for name in names:
        async for each in AXES[name](rounds):
            found.append(each)
            print(f"{each.axis} {each.value:,}: {each.measured:.3g} {each.unit}; {each.note}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument(
        "axes", nargs="*", choices=[*AXES, []], metavar="AXIS", help=f"by default all of {', '.join(AXES)}"
    )
    parser.add_argument("--rounds", type=int, default=4, help="requests of each caller")
    parser.add_argument("--quick", action="store_true", help="one round; keeps nothing")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds = 1
    found = asyncio.run(measure(arguments.axes or list(AXES), arguments.rounds))
    print(table(found))
    if not arguments.quick:
        keep(found)


def keep(found: Sequence[Measured]) -> None:
    """Write what was found into the results, their plot and the page, in place of what the same axes had before."""
    file = RESULTS / "growth.json"
    before = [Measured(**each) for each in json.loads(file.read_text("utf-8"))] if file.exists() else []
    again = {each.axis for each in found}
    kept = [each for each in before if each.axis not in again] + list(found)
    file.write_text(json.dumps(list(map(asdict, kept)), indent=1) + "\n", "utf-8")
    plot(kept, RESULTS / "growth.png")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), f"{table(kept)}\n\n{PLOT}", BEGIN), "utf-8")


if __name__ == "__main__":
    main()
