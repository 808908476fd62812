"""A run's results as text for a terminal."""

from __future__ import annotations

from benchmarks.servers import SERVERS
from benchmarks.serving.measures import comparisons, engine_targets, failures, targets
from benchmarks.serving.results import ServingResults


def print_report(results: ServingResults) -> None:
    for comparison in comparisons(results):
        measure = comparison.measure
        print(f"\n{measure.title}, {measure.unit}: median (lowest to highest)")
        for server, figure in comparison.figures.items():
            mark = "  best of the others" if server == comparison.best else ""
            spread = f"({figure.lowest:.2f} to {figure.highest:.2f})"
            print(f"  {SERVERS[server].title:<20}{figure.median:8.2f}  {spread}{mark}")
    print("\nseconds: plain pipeline, engine, plain / engine")
    for ratio, target in engine_targets(results):
        print(f"  {target.title:<40}{ratio.plain_s:8.3f}{ratio.engine_s:8.3f}{ratio.ratio:8.3f}")
    for server, count in failures(results).items():
        print(f"\n{SERVERS[server].title} failed {count} requests")
    print()
    for target in targets(results):
        print(target)
