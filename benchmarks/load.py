"""How requests arrive: from clients that wait for each response, or at random times independent of the server."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.client import Client, Sample
from benchmarks.workloads import LONG_STEPS, SHORT_STEPS, WorkloadRequest, uniform

BACKGROUND_CALLERS = 6
HEAD_START_S = 2.0
"""The long requests start first, so that the server is busy when the first short one arrives."""


@dataclass(frozen=True)
class Point:
    """One load on one server. Throughput counts all successful requests, over the time until the last response."""

    requests: int
    failures: int
    images_per_s: float
    p50_s: float
    p95_s: float
    first_error: str | None = None


def summarise(samples: Sequence[Sample]) -> Point:
    drawn = [sample for sample in samples if sample.error is None]
    seconds = max(s.answered_s for s in samples) - min(s.sent_s for s in samples)
    p50_s, p95_s = np.percentile([s.latency_s for s in drawn], [50, 95]) if drawn else (np.inf, np.inf)
    return Point(
        requests=len(samples),
        failures=len(samples) - len(drawn),
        images_per_s=len(drawn) / seconds,
        p50_s=float(p50_s),
        p95_s=float(p95_s),
        first_error=next((sample.error for sample in samples if sample.error), None),
    )


async def closed_loop(client: Client, requests: Iterable[WorkloadRequest], callers: int) -> list[Sample]:
    """Send every request; each client sends its next one when its last has completed."""
    return await _callers(client, iter(requests), callers)


async def open_loop(client: Client, requests: Iterable[WorkloadRequest], per_second: float) -> list[Sample]:
    """Send every request at Poisson arrival times, which are the same at every rate except for their scale."""
    gaps = random.Random(4)
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    async with asyncio.TaskGroup() as group:
        tasks = []
        for wanted in requests:
            tasks.append(group.create_task(client.draw(wanted)))
            due_s += gaps.expovariate(per_second)
            await asyncio.sleep(due_s - loop.time())
    return [task.result() for task in tasks]


async def short_among_long(client: Client, shorts: int, per_second: float) -> tuple[list[Sample], list[Sample]]:
    """Send short requests while other clients keep the server busy with long ones; return the samples of both."""
    ended = asyncio.Event()
    long_requests = itertools.takewhile(lambda _: not ended.is_set(), uniform(LONG_STEPS, seed=5))
    background = asyncio.create_task(_callers(client, long_requests, BACKGROUND_CALLERS))
    await asyncio.sleep(HEAD_START_S)
    short_requests = itertools.islice(uniform(SHORT_STEPS, seed=6), shorts)
    short_samples = await open_loop(client, short_requests, per_second)
    ended.set()
    return short_samples, await background


async def _callers(client: Client, requests: Iterator[WorkloadRequest], callers: int) -> list[Sample]:
    async def call() -> list[Sample]:
        return [await client.draw(wanted) for wanted in requests]

    return list(itertools.chain(*await asyncio.gather(*(call() for _ in range(callers)))))
