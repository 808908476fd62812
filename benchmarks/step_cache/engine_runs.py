"""Generates the same prompts through the engine in each of the compared ways."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from benchmarks.step_cache.quality import Images
from core.generation.draft import Draft
from core.generation.events import Picture
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.catalogue import Catalogue, full_catalogue
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.miniature.captions import plain_caption
from models.miniature.concepts import Pair, held_out_pairs
from models.weights.loading import load
from processes.allocator import keep_freed_memory
from runners.engine.engine import Engine, EngineLimits

LIMITS = ServerLimits(max_prompt_chars=1000, max_num_images=1, max_deadline_s=3600)
CHOSEN_ON = held_out_pairs()[::7]
"""The pairs that thresholds were chosen on."""
FIRST_SEED = 500


class RequestedImage(NamedTuple):
    """A requested image."""

    pair: Pair
    seed: int


def reported(callers: int, rounds: int) -> list[list[RequestedImage]]:
    """Return the images of each round, from pairs that were used neither in training nor to choose thresholds."""
    others = [pair for pair in held_out_pairs() if pair not in CHOSEN_ON]
    count = callers * rounds
    asked = [RequestedImage(others[number * len(others) // count], FIRST_SEED + number) for number in range(count)]
    return [asked[number::rounds] for number in range(rounds)]


@dataclass(frozen=True)
class Run:
    """One way to generate all prompts."""

    images: Images
    skipped: Sequence[int]
    """Steps of each image."""
    seconds: float
    """From the first request to the last image."""
    latencies_s: Sequence[float]


@contextmanager
def engine_of(model: str) -> Iterator[tuple[Engine, Catalogue]]:
    """Run one model of the catalogue on this machine's CPU, as a runner does."""
    keep_freed_memory()
    entry = full_catalogue(None).get(model)
    engine = Engine(load(entry, "cpu"), EngineLimits(entry.batch_tokens))
    try:
        yield engine, Catalogue([entry])
    finally:
        engine.close()


def requests(
    catalogue: Catalogue, asked: Sequence[RequestedImage], steps: Sequence[int], sampler: str, mode: StepCache
) -> list[GenerationRequest]:
    """Return one request for each image; `steps` cycle."""
    drafts = [
        Draft(
            prompt=plain_caption(*each.pair, 0),
            seed=each.seed,
            num_inference_steps=steps[number % len(steps)],
            scheduler=sampler,
            step_cache=mode,
        )
        for number, each in enumerate(asked)
    ]
    return [resolve(draft, catalogue, LIMITS) for draft in drafts]


def together(engine: Engine, wanted: Sequence[GenerationRequest]) -> Run:
    """Generate all at once."""
    return asyncio.run(_drawn(engine, wanted))


async def _drawn(engine: Engine, wanted: Sequence[GenerationRequest]) -> Run:
    started = time.perf_counter()

    async def draw(request: GenerationRequest) -> tuple[Picture, float]:
        picture = [event async for event in engine.submit(request).events()][-1]
        assert isinstance(picture, Picture), picture
        return picture, time.perf_counter() - started

    drawn = await asyncio.gather(*map(draw, wanted))
    images = [np.asarray(picture.image, dtype=float) / 255 for picture, _ in drawn]
    skipped = [picture.skipped_steps for picture, _ in drawn]
    return Run(images, skipped, time.perf_counter() - started, [seconds for _, seconds in drawn])
