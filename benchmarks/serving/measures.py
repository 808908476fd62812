"""The figures that are compared with the best other server's, and Jubako's targets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.load import Point
from benchmarks.servers import JUBAKO
from benchmarks.serving.plan import ALONE, LONG, MIXED, SHORT, UNIFORM
from benchmarks.serving.results import Ratio, ServingResults
from benchmarks.target import Target
from benchmarks.workloads import LONG_STEPS, MIXED_STEPS, MOST_CALLERS, SHORT_STEPS, UNIFORM_STEPS


@dataclass(frozen=True)
class Measure:
    """One figure of one workload: images per second, or the 95th percentile of latency in seconds."""

    workload: str
    title: str
    bound: float
    """The target for the ratio of Jubako's figure to the best of the others."""
    in_seconds: bool = False

    @property
    def unit(self) -> str:
        return "s" if self.in_seconds else "images/s"

    def value(self, point: Point) -> float:
        return point.p95_s if self.in_seconds else point.images_per_s

    def best(self, figures: Mapping[str, Figure]) -> str:
        choose = min if self.in_seconds else max
        return choose(figures, key=lambda server: figures[server].median)


MEASURES = (
    Measure(ALONE, f"1 caller, {UNIFORM_STEPS} steps", 0.98),
    Measure(UNIFORM, f"{MOST_CALLERS} callers, {UNIFORM_STEPS} steps", 1.0),
    Measure(MIXED, f"{MOST_CALLERS} callers, {MIXED_STEPS[0]} to {MIXED_STEPS[-1]} steps, three tasks", 1.5),
    Measure(SHORT, f"{SHORT_STEPS}-step requests among {LONG_STEPS}-step ones, p95", 0.15, in_seconds=True),
    Measure(LONG, f"the {LONG_STEPS}-step requests meanwhile", 0.95),
)


@dataclass(frozen=True)
class Figure:
    """A server's figure, for each repeat."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Comparison:
    """`figures` are by server; `best` is the name of the best server but Jubako."""

    measure: Measure
    figures: Mapping[str, Figure]
    best: str

    @property
    def ratio(self) -> float:
        """The median of the repeats' ratios, since both servers were measured within the same minute in each."""
        pairs = zip(self.figures[JUBAKO.name].values, self.figures[self.best].values, strict=True)
        return median(ours / theirs for ours, theirs in pairs)

    @property
    def target(self) -> Target:
        return Target(self.measure.title, self.ratio, self.measure.bound, at_most=self.measure.in_seconds)


def comparisons(results: ServingResults) -> Iterator[Comparison]:
    """Compare Jubako with the best of the others in each workload that was measured."""
    for measure in MEASURES:
        points = results.points.get(measure.workload, {})
        figures = {server: Figure([measure.value(each) for each in own]) for server, own in points.items()}
        others = {server: figure for server, figure in figures.items() if server != JUBAKO.name}
        if others and JUBAKO.name in figures:
            yield Comparison(measure, figures, measure.best(others))


def targets(results: ServingResults) -> Iterator[Target]:
    for comparison in comparisons(results):
        yield comparison.target
    for _, target in engine_targets(results):
        yield target
    if results.beyond_engine_ms is not None:
        yield beyond_engine_target(results.beyond_engine_ms)
    yield Target("requests that Jubako failed", failures(results).get(JUBAKO.name, 0), 0, at_most=True)


def beyond_engine_target(spent_ms: float) -> Target:
    return Target("HTTP, queue and encoding beyond the engine, 512x512, ms", spent_ms, 10.0, at_most=True)


def engine_targets(results: ServingResults) -> Iterator[tuple[Ratio, Target]]:
    if results.engine:
        batch, alone = results.engine.batch, results.engine.alone
        yield batch, Target(f"engine without HTTP, {MOST_CALLERS} images at once", batch.ratio, 0.97, at_most=False)
        yield alone, Target("engine without HTTP, 1 image", alone.ratio, 0.97, at_most=False)


def failures(results: ServingResults) -> dict[str, int]:
    """Requests that failed over all workloads, by server; servers without any are left out."""
    counts: dict[str, int] = {}
    for by_server in results.points.values():
        for server, points in by_server.items():
            counts[server] = counts.get(server, 0) + sum(point.failures for point in points)
    return {server: count for server, count in counts.items() if count}
