"""Apply every load to every server: one server at a time, in the other order at every second repeat."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Container, Iterator, Mapping, Sequence
from itertools import islice

from benchmarks.client import Client
from benchmarks.load import Point, closed_loop, short_among_long, summarise
from benchmarks.servers import Server, serving
from benchmarks.serving.plan import ALONE, CALLERS, LONG, MIXED, SHORT, UNIFORM, Plan
from benchmarks.workloads import Wanted, mixed, uniform

Points = dict[str, dict[str, list[Point]]]
"""By workload, then by server; one for each repeat."""

REQUESTS: Mapping[str, Callable[[], Iterator[Wanted]]] = {ALONE: uniform, UNIFORM: uniform, MIXED: mixed}


async def compare(
    servers: Sequence[Server],
    workloads: Container[str],
    plan: Plan,
    environment: Mapping[str, str],
    size: tuple[int, int],
) -> Points:
    points: Points = defaultdict(lambda: {server.name: [] for server in servers})
    for repeat in range(plan.repeats):
        for server in servers if repeat % 2 == 0 else reversed(servers):
            async with serving(server, environment, size) as client:
                async for workload, point in _measure(client, workloads, plan):
                    points[workload][server.name].append(point)
                    print(f"{repeat + 1}: {workload}, {server.title}: {point}", file=sys.stderr, flush=True)
    return dict(points)


async def _measure(client: Client, workloads: Container[str], plan: Plan) -> AsyncGenerator[tuple[str, Point]]:
    for workload, requests in plan.requests.items():
        if workload in workloads:
            samples = await closed_loop(client, islice(REQUESTS[workload](), requests), CALLERS[workload])
            yield workload, summarise(samples)
    if SHORT in workloads:
        shorts, longs = await short_among_long(client, plan.shorts, plan.shorts_per_s)
        yield SHORT, summarise(shorts)
        yield LONG, summarise(longs)
