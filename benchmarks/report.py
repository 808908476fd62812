"""Turn measurements into output: tables, targets reached or missed, and everything as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.comparison import SHORT, SHORT_LOAD, Results, closed_load
from benchmarks.inprocess import Efficiency, Overhead
from benchmarks.plan import MOST_CALLERS
from benchmarks.servers import BATCHABLE, JUBAKO, PLAIN, SERVERS


@dataclass(frozen=True)
class ServingResults:
    """The results of one run; sections that did not run are None or missing."""

    machine: dict[str, Any]
    http: Results
    overhead: Overhead | None = None
    efficiency: Efficiency | None = None

    def as_json(self) -> dict[str, Any]:
        ratios = {"denoising": self.efficiency.denoising, "whole": self.efficiency.whole} if self.efficiency else {}
        return {
            "machine": self.machine,
            "http": {
                workload: {server: {load: asdict(p) for load, p in points.items()} for server, points in by.items()}
                for workload, by in self.http.items()
            },
            "overhead": asdict(self.overhead) if self.overhead else None,
            "efficiency": asdict(self.efficiency) | ratios if self.efficiency else None,
            "bars": [asdict(bar) | {"reached": bar.reached} for bar in bars(self)],
        }


@dataclass(frozen=True)
class Target:
    title: str
    value: float
    bound: float
    at_most: bool

    @property
    def reached(self) -> bool:
        return self.value <= self.bound if self.at_most else self.value >= self.bound

    def __str__(self) -> str:
        sign, verdict = "<=" if self.at_most else ">=", "reached" if self.reached else "MISSED"
        return f"{verdict:8}{self.title}: {self.value:.3g} ({sign} {self.bound:.3g})"


def bars(measured: ServingResults) -> Iterator[Target]:
    """Compare the results with their targets."""
    points = [p for by in measured.http.values() for loads in by.values() for p in loads.values()]
    if points:
        yield Target("failed requests, all servers", sum(p.failures for p in points), 0, at_most=True)
    if measured.overhead:
        yield Target("single request, engine / plain pipeline", measured.overhead.ratio, 1.05, at_most=True)
    if measured.efficiency:
        yield Target("engine / raw denoiser loop", measured.efficiency.denoising, 0.9, at_most=False)
    if uniform := measured.http.get("uniform"):
        rate = {server: loads[closed_load(MOST_CALLERS)].images_per_s for server, loads in uniform.items()}
        title = f"images/s at {MOST_CALLERS} callers, uniform, to"
        yield Target(f"{title} {PLAIN.title}", _over(rate[JUBAKO.name], rate[PLAIN.name]), 2.5, at_most=False)
        yield Target(f"{title} {BATCHABLE.title}", _over(rate[JUBAKO.name], rate[BATCHABLE.name]), 1, at_most=False)
    if short := measured.http.get(SHORT):
        p95_s = {server: loads[SHORT_LOAD].p95_s for server, loads in short.items()}
        for other in (PLAIN, BATCHABLE):
            title = f"p95 of 4 steps among 50, to {other.title}"
            yield Target(title, _over(p95_s[JUBAKO.name], p95_s[other.name]), 1 / 3, at_most=True)


def print_report(measured: ServingResults) -> None:
    for workload, by_server in measured.http.items():
        print(f"\n{workload:<18}{'images/s':>10}{'p50 s':>8}{'p95 s':>8}{'failed':>8}   Jubako's images/s, p95")
        for load, ours in by_server[JUBAKO.name].items():
            for server in SERVERS:
                point = by_server[server.name][load]
                faster, slower = _over(ours.images_per_s, point.images_per_s), _over(ours.p95_s, point.p95_s)
                ratio = f"x{faster:.2f}, x{slower:.2f}"
                print(
                    f"{load:<12}{server.title:<20}{point.images_per_s:8.2f}{point.p50_s:8.2f}{point.p95_s:8.2f}"
                    f"{point.failures:>4}/{point.requests:<4}{ratio if server is not JUBAKO else ''}"
                )
    if overhead := measured.overhead:
        print(f"\nsingle request: plain {overhead.plain_s:.3f} s, engine {overhead.engine_s:.3f} s")
        print(f"  median of pairs: {overhead.ratio - 1:+.1%}")
    if efficiency := measured.efficiency:
        print(f"\nimages/s at saturation, batches of {efficiency.batch}: raw loop, engine, engine / raw")
        raw, engine = efficiency.raw_denoising, efficiency.engine_denoising
        print(f"  denoising alone       {raw:8.2f}{engine:8.2f}{efficiency.denoising:8.3f}")
        raw, engine = efficiency.raw_whole, efficiency.engine_whole
        print(f"  with encode, decode   {raw:8.2f}{engine:8.2f}{efficiency.whole:8.3f}")
    print()
    for bar in bars(measured):
        print(bar)


def _over(one: float, other: float) -> float:
    return one / other if other else float("nan")
