"""Measure how cost grows: `make benchmark-growth` prints a table and draws a plot. Half an hour on two cores."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.growth import axes
from benchmarks.growth.axes import Measured
from benchmarks.serving.pages import filled

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "growth.md"
BEGIN = "<!-- `make benchmark-growth` writes from here -->"
AXES: dict[str, Callable[[int], AsyncIterator[Measured]]] = {
    "callers": axes.callers,
    "queue": lambda _: axes.queue(),
    "models": axes.models,
    "steps": axes.steps,
    "sizes": axes.sizes,
}
HEAD = "| axis | value | measured | ideal | share of the ideal | |\n| --- | --- | --- | --- | --- | --- |"


def line(each: Measured) -> str:
    amount = f"{each.measured:.3g} {each.unit}"
    return f"| {each.axis} | {each.value:,} | {amount} | {each.ideal:.3g} | {each.share:.0%} | {each.note} |"


def plot(found: Sequence[Measured], file: Path) -> None:
    """Draw the share of the ideal over each axis."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    plotted = figure.subplots()
    for key in dict.fromkeys((each.axis, each.unit) for each in found):
        own = [each for each in found if (each.axis, each.unit) == key]
        plotted.plot(
            [each.value / own[0].value for each in own], [each.share for each in own], marker="o", label=", ".join(key)
        )
    plotted.set(xscale="log", xlabel="times the smallest value", ylabel="share of the ideal", ylim=(0, 1.3))
    plotted.legend(fontsize="small")
    figure.savefig(file, dpi=110)


async def measure(names: Sequence[str], rounds: int) -> list[Measured]:
    found = []
    for name in names:
        async for each in AXES[name](rounds):
            found.append(each)
            print(line(each), flush=True)
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
    print(HEAD)
    found = asyncio.run(measure(arguments.axes or list(AXES), arguments.rounds))
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
    table = "\n".join([HEAD, *map(line, kept)])
    PAGE.write_text(filled(PAGE.read_text("utf-8"), table, BEGIN), "utf-8")


if __name__ == "__main__":
    main()
