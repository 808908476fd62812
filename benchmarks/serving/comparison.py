"""Apply every load to every server.

They are all started at once and measured in turns, each while the others are suspended. A shared machine may be half as
fast in one minute as in another, so only what was measured within the same minute is compared. A different server goes
first in every repeat.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import islice

from benchmarks.client import Client
from benchmarks.load import Point, closed_loop, short_among_long, summarise
from benchmarks.servers import Server, taking_turns
from benchmarks.serving.plan import ALONE, CALLERS, LONG, MIXED, SHORT, UNIFORM, MeasurementPlan
from benchmarks.workloads import WorkloadRequest, mixed, uniform

Points = dict[str, dict[str, list[Point]]]
"""By workload, then by server; one for each repeat."""
ApplyLoad = Callable[[Client], Awaitable[Mapping[str, Point]]]
"""What it measures is by workload."""

REQUESTS: Mapping[str, Callable[[], Iterator[WorkloadRequest]]] = {ALONE: uniform, UNIFORM: uniform, MIXED: mixed}


async def compare(
    servers: Sequence[Server],
    workloads: Container[str],
    plan: MeasurementPlan,
    environment: Mapping[str, str],
    size: tuple[int, int],
) -> Points:
    points: Points = defaultdict(lambda: {server.name: [] for server in servers})
    async with AsyncExitStack() as running:
        turns = [(each, await running.enter_async_context(taking_turns(each, environment, size))) for each in servers]
        for repeat in range(plan.repeats):
            first = repeat % len(turns)
            for load in _loads(workloads, plan):
                for server, turn in turns[first:] + turns[:first]:
                    with turn() as client:
                        measured = await load(client)
                    for workload, point in measured.items():
                        points[workload][server.name].append(point)
                        print(f"{repeat + 1}: {workload}, {server.title}: {point}", file=sys.stderr, flush=True)
    return dict(points)


def _loads(workloads: Container[str], plan: MeasurementPlan) -> list[ApplyLoad]:
    loads: list[ApplyLoad] = [partial(_callers, workload, plan) for workload in plan.requests if workload in workloads]
    return [*loads, partial(_short_and_long, plan)] if SHORT in workloads else loads


async def _callers(workload: str, plan: MeasurementPlan, client: Client) -> Mapping[str, Point]:
    wanted = islice(REQUESTS[workload](), plan.requests[workload])
    return {workload: summarise(await closed_loop(client, wanted, CALLERS[workload]))}


async def _short_and_long(plan: MeasurementPlan, client: Client) -> Mapping[str, Point]:
    shorts, longs = await short_among_long(client, plan.shorts, plan.shorts_per_s)
    return {SHORT: summarise(shorts), LONG: summarise(longs)}
