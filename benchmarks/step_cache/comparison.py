"""Compares images with and without a cache, and with fewer steps, in one run.

Each round has new images, and generates the same ones in every mode, one mode after the other, so that other load on
the machine slows down all modes alike. Figures of quality cover the images of all rounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median

from benchmarks.step_cache.engine_runs import RequestedImage, Run, engine_of, reported, requests, together
from benchmarks.step_cache.quality import Likeness, Shown, likeness, shown
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.catalogue import Catalogue
from runners.engine.engine import Engine

MIXED_STEPS = (8, 20, 30, 50)
SAMPLERS = {"miniature": ("dpmpp_2m", "euler", "ddim"), "miniature-dit": ("flow_euler",)}
CACHES = (StepCache.QUALITY, StepCache.FAST)
ALONE = 3
"""Images that are generated one at a time, to measure latency."""
LEAST_STEPS = 2
"""Of the control."""


@dataclass(frozen=True)
class Compared:
    """Generation with a cache compared with none, for the same images."""

    mode: str
    skipped: float
    """The share of steps that were skipped."""
    throughput: float
    """Images a second of all callers at once, as a ratio; the median of the rounds."""
    slowest: float
    fastest: float
    """The rounds' least and greatest ratio."""
    like: Likeness
    shown: Shown
    shown_off: Shown
    control: Likeness
    """The likeness of the plain model with as many steps as the cache computed, to that with all steps."""
    images: int
    """The number of images that the quality is measured on."""


@dataclass(frozen=True)
class Row:
    """One mode of one sampler at one number of steps."""

    model: str
    sampler: str
    steps: int
    control_steps: int
    latency: float
    """The ratio of latency for a single caller."""
    compared: Compared


@dataclass(frozen=True)
class Mixed:
    """Callers with 8 to 50 steps at once."""

    model: str
    latency: float
    """The ratio of the callers' median latency."""
    compared: Compared


@dataclass(frozen=True)
class Rounds:
    """The same images in each way; a list has one run for each round."""

    asked: list[list[RequestedImage]]
    off: list[Run]
    cached: Mapping[StepCache, list[Run]]
    fewer: Mapping[StepCache, list[Run]]
    """Without a cache, each image with as many steps as the cache computed for it."""


def compare(model: str, callers: int, steps: Sequence[int], rounds: int) -> Iterator[Row | Mixed]:
    """Yield rows as they are measured."""
    asked = reported(callers, rounds)
    with engine_of(model) as (engine, catalogue):
        together(engine, requests(catalogue, asked[0][:2], [4], SAMPLERS[model][0], StepCache.OFF))
        for sampler in SAMPLERS[model]:
            for number in steps:
                yield from _rows(engine, catalogue, model, sampler, number, asked)
        yield from _mixed(engine, catalogue, model, asked)


def _rows(
    engine: Engine, catalogue: Catalogue, model: str, sampler: str, steps: int, asked: list[list[RequestedImage]]
) -> Iterator[Row]:
    found = _rounds(engine, catalogue, sampler, [steps], asked)
    alone = _alone(engine, catalogue, sampler, steps, asked[0][:ALONE])
    for mode in CACHES:
        compared = _compared(mode, found, [steps])
        control_steps = max(LEAST_STEPS, round(steps * (1 - compared.skipped)))
        yield Row(model, sampler, steps, control_steps, alone[mode] / alone[StepCache.OFF], compared)


def _mixed(engine: Engine, catalogue: Catalogue, model: str, asked: list[list[RequestedImage]]) -> Iterator[Mixed]:
    found = _rounds(engine, catalogue, SAMPLERS[model][0], MIXED_STEPS, asked)
    for mode in CACHES:
        latency = median(
            median(run.latencies_s) / median(off.latencies_s)
            for run, off in zip(found.cached[mode], found.off, strict=True)
        )
        yield Mixed(model, latency, _compared(mode, found, MIXED_STEPS))


def _rounds(
    engine: Engine, catalogue: Catalogue, sampler: str, steps: Sequence[int], asked: list[list[RequestedImage]]
) -> Rounds:
    found = Rounds(asked, [], {mode: [] for mode in CACHES}, {mode: [] for mode in CACHES})
    for each in asked:
        found.off.append(together(engine, requests(catalogue, each, steps, sampler, StepCache.OFF)))
        for mode in CACHES:
            wanted = requests(catalogue, each, steps, sampler, mode)
            run = together(engine, wanted)
            found.cached[mode].append(run)
            found.fewer[mode].append(together(engine, _controls(wanted, run)))
    return found


def _controls(wanted: Sequence[GenerationRequest], run: Run) -> list[GenerationRequest]:
    return [
        request.model_copy(
            update={
                "num_inference_steps": max(LEAST_STEPS, request.num_inference_steps - skipped),
                "step_cache": StepCache.OFF,
            }
        )
        for request, skipped in zip(wanted, run.skipped, strict=True)
    ]


def _compared(mode: StepCache, found: Rounds, steps: Sequence[int]) -> Compared:
    """`steps` cycle over the callers."""
    pairs = [each.pair for asked in found.asked for each in asked]
    off, cached, fewer = (
        [image for run in runs for image in run.images] for runs in (found.off, found.cached[mode], found.fewer[mode])
    )
    ratios = [plain.seconds / run.seconds for run, plain in zip(found.cached[mode], found.off, strict=True)]
    return Compared(
        mode=mode.value,
        skipped=mean(count for run in found.cached[mode] for count in run.skipped) / mean(steps),
        throughput=median(ratios),
        slowest=min(ratios),
        fastest=max(ratios),
        like=likeness(cached, off),
        shown=shown(cached, pairs),
        shown_off=shown(off, pairs),
        control=likeness(fewer, off),
        images=len(pairs),
    )


def _alone(
    engine: Engine, catalogue: Catalogue, sampler: str, steps: int, asked: Sequence[RequestedImage]
) -> dict[StepCache, float]:
    """Return the seconds of an image generated alone; modes take turns, so that noise affects all alike."""
    wanted = {mode: requests(catalogue, asked, [steps], sampler, mode) for mode in (StepCache.OFF, *CACHES)}
    rounds = zip(*wanted.values(), strict=True)
    seconds = [[together(engine, [request]).seconds for request in each] for each in rounds]
    return dict(zip(wanted, map(median, zip(*seconds, strict=True)), strict=True))
