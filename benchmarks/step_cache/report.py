"""The comparison as a table, as a picture, and against its bars."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from matplotlib.figure import Figure

from benchmarks.step_cache.comparison import Mixed, Row

THROUGHPUT_BARS = {("quality", 30): 1.45, ("quality", 50): 1.9, ("fast", 50): 2.5}
MEDIAN_DB_OVER_CONTROL, WORST_DB_OVER_CONTROL = 7.0, 3.0
JUDGED_BELOW = {"quality": 0.01, "fast": 0.02}

HEAD = (
    "| model | sampler | steps | mode | skipped | throughput | latency alone | PSNR, dB | CLIP distance | judge "
    "| control | control, dB |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)

MIXED_HEAD = (
    "| model | mode | skipped | throughput | latency | PSNR, dB | CLIP distance | judge |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def line(row: Row) -> str:
    """One row of the table of docs/step-cache.md."""
    return (
        f"| {row.model} | {row.sampler} | {row.steps} | {row.mode} | {row.skipped:.0%} | {row.throughput:.2f} "
        f"| {row.latency:.2f} | {row.median_db:.1f} / {row.worst_db:.1f} | {row.distance:.4f} "
        f"| {row.judged:.1%} ({row.judged_off:.1%}) | {row.control_steps} steps "
        f"| {row.control_median_db:.1f} / {row.control_worst_db:.1f} |"
    )


def mixed_line(mixed: Mixed) -> str:
    """One row of the table of callers with 8 to 50 steps at once."""
    return (
        f"| {mixed.model} | {mixed.mode} | {mixed.skipped:.0%} | {mixed.throughput:.2f} | {mixed.latency:.2f} "
        f"| {mixed.median_db:.1f} / {mixed.worst_db:.1f} | {mixed.distance:.4f} "
        f"| {mixed.judged:.1%} ({mixed.judged_off:.1%}) |"
    )


def missed(row: Row) -> list[str]:
    """Return the bars that a row of 30 or 50 steps misses."""
    found: list[str] = []
    wanted = THROUGHPUT_BARS.get((row.mode, row.steps))
    if wanted is None:
        return found
    if row.throughput < wanted:
        found.append(f"throughput {row.throughput:.2f} of {wanted}")
    if row.judged < row.judged_off - JUDGED_BELOW[row.mode]:
        found.append(f"judge {row.judged:.1%} against {row.judged_off:.1%}")
    if row.mode == "quality":
        above, worst = row.median_db - row.control_median_db, row.worst_db - row.control_worst_db
        if above < MEDIAN_DB_OVER_CONTROL:
            found.append(f"median {above:+.1f} dB of {MEDIAN_DB_OVER_CONTROL}")
        if worst < WORST_DB_OVER_CONTROL:
            found.append(f"worst {worst:+.1f} dB of {WORST_DB_OVER_CONTROL}")
    return found


def plot(rows: Sequence[Row], file: Path) -> None:
    """Draw likeness over computed steps: caches against the plain model with as many."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(5 * len(models), 4), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        own = [row for row in rows if row.model == model]
        axes.scatter(
            [row.control_steps for row in own], [row.control_median_db for row in own], marker="x", label="fewer steps"
        )
        for mode in ("quality", "fast"):
            chosen = [row for row in own if row.mode == mode]
            axes.scatter([row.control_steps for row in chosen], [row.median_db for row in chosen], label=mode)
        axes.set(title=model, xlabel="computed steps", ylabel="PSNR to all steps, dB (median)")
        axes.legend()
    figure.savefig(file, dpi=110)


def write(rows: Sequence[Row], mixed: Sequence[Mixed], file: Path) -> None:
    """Keep the figures."""
    file.write_text(json.dumps([*map(asdict, rows), *map(asdict, mixed)], indent=1) + "\n")
