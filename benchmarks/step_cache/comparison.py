"""Compares images with and without a cache, and with fewer steps, in one run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import mean, median

from benchmarks.step_cache.drawing import Run, engine_of, reported_pairs, requests, together
from benchmarks.step_cache.quality import judged, likeness
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.catalogue import Catalogue
from models.miniature.concepts import Pair
from runners.engine.engine import Engine

MIXED_STEPS = (8, 20, 30, 50)
SAMPLERS = {"miniature": ("dpmpp_2m", "euler", "ddim"), "miniature-dit": ("flow_euler",)}
MODES = (StepCache.OFF, StepCache.QUALITY, StepCache.FAST)
ALONE = 3
"""Images that are generated one after the other."""


Wanted = Mapping[StepCache, Sequence[GenerationRequest]]
"""The same images in each mode."""


@dataclass(frozen=True)
class Row:
    """One mode of one sampler at one number of steps, against no cache."""

    model: str
    sampler: str
    steps: int
    mode: str
    skipped: float
    """The share of the steps."""
    throughput: float
    """Images a second of all callers at once, as a ratio."""
    latency: float
    """Seconds of one caller alone, as a ratio."""
    median_db: float
    worst_db: float
    distance: float
    judged: float
    """The share of images that show what was asked for."""
    judged_off: float
    control_steps: int
    """Of the plain model: as many calls as the cache computed."""
    control_median_db: float
    control_worst_db: float


@dataclass(frozen=True)
class Mixed:
    """Callers with 8 to 50 steps at once."""

    model: str
    mode: str
    skipped: float
    """The share of the steps."""
    throughput: float
    latency: float
    """The callers' median seconds, as a ratio."""
    median_db: float
    worst_db: float
    distance: float
    judged: float
    judged_off: float


def compare(model: str, callers: int, steps: Sequence[int], repeats: int) -> Iterator[Row | Mixed]:
    """Yield rows as they are measured."""
    pairs = reported_pairs(callers)
    with engine_of(model) as (engine, catalogue):
        together(engine, requests(catalogue, pairs[:2], [4], SAMPLERS[model][0], StepCache.OFF))
        for sampler in SAMPLERS[model]:
            for number in steps:
                yield from _rows(engine, catalogue, model, sampler, number, pairs, repeats)
        yield from _mixed(engine, catalogue, model, pairs, repeats)


def _rows(
    engine: Engine, catalogue: Catalogue, model: str, sampler: str, steps: int, pairs: list[Pair], repeats: int
) -> Iterator[Row]:
    wanted = {mode: requests(catalogue, pairs, [steps], sampler, mode) for mode in MODES}
    runs, alone = _alternated(engine, wanted, repeats), _alone(engine, wanted)
    off = runs[StepCache.OFF]
    for mode in MODES[1:]:
        run = runs[mode]
        control_steps = max(2, round(steps - run.skipped))
        control = together(engine, requests(catalogue, pairs, [control_steps], sampler, StepCache.OFF))
        like, control_like = likeness(run.images, off.images), likeness(control.images, off.images)
        yield Row(
            model=model,
            sampler=sampler,
            steps=steps,
            mode=mode.value,
            skipped=run.skipped / steps,
            throughput=off.seconds / run.seconds,
            latency=alone[mode] / alone[StepCache.OFF],
            **asdict(like),
            judged=judged(run.images, pairs),
            judged_off=judged(off.images, pairs),
            control_steps=control_steps,
            control_median_db=control_like.median_db,
            control_worst_db=control_like.worst_db,
        )


def _mixed(engine: Engine, catalogue: Catalogue, model: str, pairs: list[Pair], repeats: int) -> Iterator[Mixed]:
    wanted = {mode: requests(catalogue, pairs, MIXED_STEPS, SAMPLERS[model][0], mode) for mode in MODES}
    runs = _alternated(engine, wanted, repeats)
    off = runs[StepCache.OFF]
    for mode in MODES[1:]:
        run = runs[mode]
        yield Mixed(
            model=model,
            mode=mode.value,
            skipped=run.skipped / mean(request.num_inference_steps for request in wanted[mode]),
            throughput=off.seconds / run.seconds,
            latency=median(run.latencies_s) / median(off.latencies_s),
            **asdict(likeness(run.images, off.images)),
            judged=judged(run.images, pairs),
            judged_off=judged(off.images, pairs),
        )


def _alternated(engine: Engine, wanted: Wanted, repeats: int) -> dict[StepCache, Run]:
    """Return the run of median length of each mode; one mode after the other, again and again."""
    runs: dict[StepCache, list[Run]] = {mode: [] for mode in wanted}
    for _ in range(repeats):
        for mode, each in wanted.items():
            runs[mode].append(together(engine, each))
    return {mode: sorted(found, key=lambda run: run.seconds)[len(found) // 2] for mode, found in runs.items()}


def _alone(engine: Engine, wanted: Wanted) -> dict[StepCache, float]:
    """Return the seconds of an image that has the machine to itself; modes take turns, so that noise hits all alike."""
    rounds = zip(*(requests[:ALONE] for requests in wanted.values()), strict=True)
    seconds = [[together(engine, [request]).seconds for request in each] for each in rounds]
    return dict(zip(wanted, map(median, zip(*seconds, strict=True)), strict=True))
