"""The measurements, one for each axis, with everything else at its default."""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

import psutil

from benchmarks.client import Client
from benchmarks.load import Point, closed_loop, summarise
from benchmarks.measured_model import DEFAULT_MODEL, copies_of_the_miniature, server_environment
from benchmarks.servers import JUBAKO, serving
from benchmarks.workloads import WorkloadRequest, uniform

CALLERS_AXIS = "callers"
STEPS = 8
"""The steps of each image on the other axes."""
CALLERS = (1, 4, 16, 64, 256)
JOBS = (10, 100, 1_000, 10_000)
MODELS = (1, 2, 4, 8)
STEP_COUNTS = (1, 4, 16, 50, 150)
SIZES_PX = (64, 128, 192, 256)
SUBMITTERS = 16
LISTINGS = 5
SIZE = (128, 128)


@dataclass(frozen=True)
class Measured:
    """One value of an axis."""

    axis: str
    value: int
    unit: str
    """The unit of `measured`."""
    measured: float
    note: str = ""

    @property
    def more_is_better(self) -> bool:
        return self.unit.endswith("/s")


async def callers(rounds: int) -> AsyncIterator[Measured]:
    """Images a second."""
    async with serving(JUBAKO, _environment(), SIZE) as client:
        for number in CALLERS:
            wanted = itertools.islice(uniform(STEPS), rounds * max(number, 8))
            point = summarise(await closed_loop(client, wanted, number))
            note = f"{point.failures} failed, p95 {point.p95_s:.2f} s"
            yield Measured(CALLERS_AXIS, number, "images/s", point.images_per_s, note)


async def steps(rounds: int) -> AsyncIterator[Measured]:
    """Milliseconds a step and image of 8 callers."""
    async with serving(JUBAKO, _environment(), SIZE) as client:
        for number in STEP_COUNTS:
            point = await _warm(client, uniform(number), 8, rounds)
            yield Measured("steps", number, "ms a step and image", 1000 / point.images_per_s / number)


async def sizes(rounds: int) -> AsyncIterator[Measured]:
    """Microseconds a latent position, step and image of 8 callers."""
    async with serving(JUBAKO, _environment(), SIZE) as client:
        for side_px in SIZES_PX:
            size = {"width": side_px, "height": side_px}
            point = await _warm(client, (replace(each, others=size) for each in uniform(STEPS)), 8, rounds)
            cost_us = 1e6 / point.images_per_s / STEPS / (side_px // 8) ** 2
            yield Measured("size, px", side_px, "µs a latent position and step", cost_us)


async def models(rounds: int) -> AsyncIterator[Measured]:
    """Images a second of 16 callers whose requests cycle through the models."""
    for number in MODELS:
        names = [f"copy-{index}" for index in range(number)]
        catalogue = str(copies_of_the_miniature(names))
        environment = {**_environment(), "JUBAKO_MODELS": ",".join(names), "JUBAKO_CATALOGUE": catalogue}
        async with serving(JUBAKO, environment, SIZE) as client:
            asked = zip(uniform(STEPS), itertools.cycle(names), strict=False)
            wanted = (replace(each, others={"model": name}) for each, name in asked)
            point = await _warm(client, wanted, 16, rounds)
            yield Measured("models", number, "images/s", point.images_per_s, f"{_memory_mib():.0f} MiB")


async def queue() -> AsyncIterator[Measured]:
    """Jobs submitted a second, and milliseconds to list the latest ones, while the queue grows."""
    most = str(2 * max(JOBS))
    environment = {**_environment(), "JUBAKO_MAX_WAITING_JOBS": most, "JUBAKO_MAX_JOBS_PER_CALLER": most}
    waiting = 0
    async with serving(JUBAKO, environment, SIZE) as client:
        before_mib = _memory_mib()
        for number in JOBS:
            submitted_per_s = await _submitted(client, waiting, number)
            waiting = number
            list_ms = await _listed(client)
            kib = (_memory_mib() - before_mib) * 1024 / number
            for unit, measured in (("submitted/s", submitted_per_s), ("ms to list", list_ms)):
                yield Measured("waiting jobs", number, unit, measured, f"{kib:.1f} KiB each")


async def _warm(client: Client, wanted: Iterator[WorkloadRequest], callers: int, rounds: int) -> Point:
    """Measure requests after a warm-up round that loads models and uses their sizes for the first time."""
    await closed_loop(client, itertools.islice(wanted, callers), callers)
    return summarise(await closed_loop(client, itertools.islice(wanted, callers * rounds), callers))


async def _submitted(client: Client, done: int, until: int) -> float:
    """Submit jobs up to a number, and return how many a second were accepted."""
    numbers = iter(range(done, until))

    async def submit() -> None:
        for number in numbers:
            fields = {"prompt": "a red apple on a blue background", "seed": number, "num_inference_steps": 150}
            await client.post(f"/api/{DEFAULT_MODEL}/t2i", fields)

    started = time.perf_counter()
    await asyncio.gather(*(submit() for _ in range(SUBMITTERS)))
    return (until - done) / (time.perf_counter() - started)


async def _listed(client: Client) -> float:
    started = time.perf_counter()
    for _ in range(LISTINGS):
        assert await client.status("/api/jobs?limit=50") == 200
    return 1000 * (time.perf_counter() - started) / LISTINGS


def _environment() -> dict[str, str]:
    return server_environment(None, "cpu", threads=len(os.sched_getaffinity(0)))


def _memory_mib() -> float:
    """Return the memory of all processes that this one has started, shared pages counted once for each."""
    children = psutil.Process().children(recursive=True)
    return float(sum(child.memory_info().rss for child in children)) / 2**20
