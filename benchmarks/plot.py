"""The README's plot: throughput under load, and the latency of short requests among long ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from benchmarks.comparison import SHORT, SHORT_LOAD, closed_load
from benchmarks.plan import MOST_CALLERS
from benchmarks.report import ServingResults
from benchmarks.servers import JUBAKO, SERVERS

INK, GREY, ACCENT = "#1f2328", "#a9b2bd", "#c2410c"


def plot(measured: ServingResults, file: Path) -> bool:
    """Write the plot if everything that it shows was measured, and return whether it was."""
    if not {"uniform", SHORT} <= measured.http.keys():
        return False
    uniform, short = measured.http["uniform"], measured.http[SHORT]
    figure = Figure(figsize=(9, 3.2), dpi=150, layout=ConstrainedLayoutEngine(wspace=0.08), facecolor="white")
    left, right = figure.subplots(1, 2)
    rates = {server: loads[closed_load(MOST_CALLERS)].images_per_s for server, loads in uniform.items()}
    waits_s = {server: loads[SHORT_LOAD].p95_s for server, loads in short.items()}
    _bars(left, rates, f"Images per second, {MOST_CALLERS} callers\n(more is better)")
    _bars(right, waits_s, "p95 of 4-step requests among 50-step ones,\nseconds (less is better)")
    figure.suptitle(f"{measured.machine['title']}, {measured.machine['model']}", color=INK, fontsize=11)
    figure.savefig(file)
    return True


def _bars(axes: Axes, values: Mapping[str, float], title: str) -> None:
    colours = [ACCENT if server is JUBAKO else GREY for server in SERVERS]
    drawn = axes.bar([server.title for server in SERVERS], [values[s.name] for s in SERVERS], 0.6, color=colours)
    axes.bar_label(drawn, fmt="%.2f", padding=3, color=INK, fontsize=11)
    axes.set_title(title, fontsize=10, color=INK)
    axes.margins(y=0.15)
    axes.yaxis.set_visible(False)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.tick_params(axis="x", length=0, labelsize=9, labelcolor=INK)
