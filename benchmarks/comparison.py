"""Apply every load to every server: one server after the other within each workload, never two at a time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from itertools import islice

from benchmarks.client import Client
from benchmarks.load import Point, closed_loop, open_loop, short_among_long, summarise
from benchmarks.plan import OPEN_LOADS, Workloads
from benchmarks.servers import PLAIN, SERVERS, serving
from benchmarks.workloads import Wanted, mixed, uniform

Points = dict[str, Point]
"""By load: `closed 16`, `open 80 %`, `short`, `long`."""
Results = dict[str, dict[str, Points]]
"""By workload, then by server."""

SHORT = "short among long"
SHORT_LOAD, LONG_LOAD = "4 steps", "50 steps"
WORKLOADS: Mapping[str, Callable[[], Iterator[Wanted]]] = {"uniform": uniform, "mixed": mixed}


def closed_load(callers: int) -> str:
    return f"closed {callers}"


def open_load(share: float) -> str:
    return f"open {share:.0%}"


async def compare(
    workload: str, plan: Workloads, environment: Mapping[str, str], size: tuple[int, int]
) -> dict[str, Points]:
    """Measure one workload on all servers; the plain one comes first, because its capacity sets the open loads."""
    results: dict[str, Points] = {}
    for server in SERVERS:
        results[server.name] = points = {}
        async with serving(server, environment, size) as client:
            loads = _short_loads if workload == SHORT else _loads
            capacity = _capacity(results[PLAIN.name]) if server is not PLAIN else None
            async for load, point in loads(client, workload, plan, capacity):
                points[load] = point
                print(f"{workload}, {server.title}, {load}: {point}", file=sys.stderr, flush=True)
        await asyncio.sleep(1)
    return results


async def _loads(
    client: Client, workload: str, plan: Workloads, capacity: float | None
) -> AsyncGenerator[tuple[str, Point]]:
    sequence = WORKLOADS[workload]
    closed: Points = {}
    for callers, requests in plan.closed[workload].items():
        samples = await closed_loop(client, islice(sequence(), requests), callers)
        closed[closed_load(callers)] = summarise(samples)
        yield closed_load(callers), closed[closed_load(callers)]
    for share in OPEN_LOADS:
        per_second = share * (capacity or _capacity(closed))
        requests = max(1, round(per_second * plan.open_s))
        yield open_load(share), summarise(await open_loop(client, islice(sequence(), requests), per_second))


async def _short_loads(
    client: Client, _workload: str, plan: Workloads, _capacity: float | None
) -> AsyncGenerator[tuple[str, Point]]:
    shorts, longs = await short_among_long(client, plan.shorts, plan.shorts_per_s)
    yield SHORT_LOAD, summarise(shorts)
    yield LONG_LOAD, summarise(longs)


def _capacity(points: Points) -> float:
    """Images per second under closed loads: the most that the server can do."""
    return max((point.images_per_s for load, point in points.items() if load.startswith("closed")), default=0)
