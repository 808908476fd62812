"""The comparison as tables, as a plot, and against its targets."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean

from matplotlib.figure import Figure

from benchmarks.serving.documents import filled
from benchmarks.step_cache.comparison import CACHES, Compared, Mixed, Row

RESULTS = Path(__file__).parents[1] / "results"
PAGE = Path(__file__).parents[2] / "docs" / "step-cache.md"
BEGIN = "<!-- `make benchmark-cache` writes from here -->"

THROUGHPUT_BARS = {("quality", 30): 1.45, ("quality", 50): 1.9, ("fast", 50): 2.5}
MEDIAN_DB_OVER_CONTROL, WORST_DB_OVER_CONTROL = 7.0, 3.0
SHOWN_BELOW = {"quality": 0.01, "fast": 0.02}
"""Over all of a model's samplers and numbers of steps: in a single row, one of its few images already exceeds this."""

_COMPARED_HEAD = "PSNR, dB | fewer steps, dB | CLIP distance | judge | CLIP |"
HEAD = (
    f"| model | sampler | steps | mode | skipped | throughput | latency alone | {_COMPARED_HEAD}\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)
MIXED_HEAD = (
    f"| model | mode | skipped | throughput | latency | {_COMPARED_HEAD}\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def line(row: Row) -> str:
    return f"| {row.model} | {row.sampler} | {row.steps} | {_compared(row.compared, row.latency)} |"


def mixed_line(mixed: Mixed) -> str:
    """One row of the table of callers with 8 to 50 steps at once."""
    return f"| {mixed.model} | {_compared(mixed.compared, mixed.latency)} |"


def _compared(each: Compared, latency: float) -> str:
    return " | ".join(
        [
            each.mode,
            f"{each.skipped:.0%}",
            f"{each.throughput:.2f} ({each.slowest:.2f} to {each.fastest:.2f})",
            f"{latency:.2f}",
            f"{each.like.median_db:.1f} / {each.like.worst_db:.1f}",
            f"{each.control.median_db:.1f} / {each.control.worst_db:.1f}",
            f"{each.like.distance:.4f}",
            f"{each.shown.judged:.1%} ({each.shown_off.judged:.1%})",
            f"{each.shown.clip:.1%} ({each.shown_off.clip:.1%})",
        ]
    )


def verdicts(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a line for each missed target, or a single one if all are met."""
    missed = [f"**Missed**: {each}." for each in (*_missed(rows), *_unseen(rows))]
    yield from missed or ["Every bar is met."]


def _missed(rows: Sequence[Row]) -> Iterator[str]:
    for row in rows:
        each = row.compared
        where = f"{row.model}, {row.sampler}, {row.steps} steps, `{each.mode}`"
        wanted = THROUGHPUT_BARS.get((each.mode, row.steps))
        if wanted is None:
            continue
        if each.throughput < wanted:
            yield f"{where}: {each.throughput:.2f} times the throughput, of {wanted}"
        if each.mode == "quality":
            above = each.like.median_db - each.control.median_db
            worst = each.like.worst_db - each.control.worst_db
            if above < MEDIAN_DB_OVER_CONTROL:
                yield f"{where}: {above:+.1f} dB over fewer steps in the median, of {MEDIAN_DB_OVER_CONTROL:.0f}"
            if worst < WORST_DB_OVER_CONTROL:
                yield f"{where}: {worst:+.1f} dB in the worst image, of {WORST_DB_OVER_CONTROL:.0f}"


def _unseen(rows: Sequence[Row]) -> Iterator[str]:
    for model, mode, judge, seen, seen_off in _seen(rows):
        if seen < seen_off - SHOWN_BELOW[mode]:
            yield f"{model}, `{mode}`: {judge} sees what was asked for in {seen:.1%} instead of {seen_off:.1%}"


def seen_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each model, mode and judge, over all samplers and numbers of steps."""
    for model, mode, judge, seen, seen_off in _seen(rows):
        images = sum(row.compared.images for row in rows if (row.model, row.compared.mode) == (model, mode))
        yield f"- {model}, `{mode}`, {images} images: {judge} {seen:.1%}, without a cache {seen_off:.1%}"


def _seen(rows: Sequence[Row]) -> Iterator[tuple[str, str, str, float, float]]:
    for model in dict.fromkeys(row.model for row in rows):
        for mode in CACHES:
            own = [row.compared for row in rows if (row.model, row.compared.mode) == (model, mode.value)]
            shown, off = [each.shown for each in own], [each.shown_off for each in own]
            judged, judged_off = mean(each.judged for each in shown), mean(each.judged for each in off)
            yield model, mode.value, "the judge", judged, judged_off
            yield model, mode.value, "CLIP", mean(each.clip for each in shown), mean(each.clip for each in off)


def keep(rows: Sequence[Row], mixed: Sequence[Mixed]) -> None:
    """Write the figures, their plot, and their tables in the page."""
    (RESULTS / "step-cache.json").write_text(
        json.dumps([*map(asdict, rows), *map(asdict, mixed)], indent=1) + "\n", "utf-8"
    )
    _plot(rows, RESULTS / "step-cache.png")
    PAGE.write_text(filled(PAGE.read_text("utf-8"), _block(rows, mixed), BEGIN), "utf-8")


def _block(rows: Sequence[Row], mixed: Sequence[Mixed]) -> str:
    return "\n".join(
        [
            HEAD,
            *map(line, rows),
            "",
            "![Likeness to the images without a cache, over the computed steps](../benchmarks/results/step-cache.png)",
            "",
            "Over all samplers and numbers of steps, the share of images that show what was asked for:",
            "",
            *seen_lines(rows),
            "",
            "Callers who ask for 8 to 50 steps at once:",
            "",
            MIXED_HEAD,
            *map(mixed_line, mixed),
            "",
            *verdicts(rows),
        ]
    )


def _plot(rows: Sequence[Row], file: Path) -> None:
    """Draw likeness over computed steps, for caches and for the plain model with as many steps."""
    models = list(dict.fromkeys(row.model for row in rows))
    figure = Figure(figsize=(5 * len(models), 4), layout="constrained")
    for axes, model in zip(figure.subplots(1, len(models), squeeze=False)[0], models, strict=True):
        own = [row for row in rows if row.model == model]
        steps, controls = [row.control_steps for row in own], [row.compared.control.median_db for row in own]
        axes.scatter(steps, controls, marker="x", label="fewer steps")
        for mode in CACHES:
            chosen = [row for row in own if row.compared.mode == mode.value]
            likes = [row.compared.like.median_db for row in chosen]
            axes.scatter([row.control_steps for row in chosen], likes, label=mode.value)
        axes.set(title=model, xlabel="computed steps", ylabel="PSNR to all steps, dB (median)")
        axes.legend()
    figure.savefig(file, dpi=110)
