"""The README's plot: for each workload, the servers' figures, and Jubako's ratio to the best of the others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.servers import JUBAKO, SERVERS
from benchmarks.serving.measures import Comparison, comparisons
from benchmarks.serving.results import ServingResults

INK, GREY, ACCENT = "#1f2328", "#a9b2bd", "#c2410c"


def plot(results: ServingResults, file: Path) -> None:
    """Write a panel for each workload, with a bar for each server."""
    shown = list(comparisons(results))
    figure = Figure(figsize=(9, 4.6), dpi=150, layout=ConstrainedLayoutEngine(wspace=0.06, hspace=0.1))
    figure.set_facecolor("white")
    panels: Sequence[Axes] = figure.subplots(2, 3).flat
    for axes, comparison in zip(panels, shown, strict=False):
        _bars(axes, comparison)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    figure.suptitle(f"{results.machine['title']}, {results.machine['model']}", color=INK, fontsize=11)
    figure.savefig(file)


def _bars(axes: Axes, comparison: Comparison) -> None:
    servers, measure = list(comparison.figures), comparison.measure
    values = [comparison.figures[server].median for server in servers]
    colours = [ACCENT if server == JUBAKO.name else GREY for server in servers]
    titles = [SERVERS[server].title.partition(" ")[0] for server in servers]
    drawn = axes.bar(titles, values, 0.6, color=colours)
    axes.bar_label(drawn, fmt="%.2f", padding=2, color=INK, fontsize=8)
    better = "less is better" if measure.in_seconds else "more is better"
    target = comparison.target
    goal = f"{target.value:.2f} of the best, goal {'at most' if target.at_most else 'at least'} {target.bound:g}"
    axes.set_title(f"{measure.title},\n{measure.unit} ({better}): {goal}", fontsize=8, color=INK)
    axes.margins(y=0.15)
    axes.yaxis.set_visible(False)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=7, labelcolor=INK)
