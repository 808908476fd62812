"""Measure the step cache: `make benchmark-cache`; half an hour on two cores, or ARGS=--quick."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.step_cache.comparison import Mixed, Row, compare
from benchmarks.step_cache.report import HEAD, MIXED_HEAD, line, missed, mixed_line, plot, write

RESULTS = Path(__file__).parents[1] / "results"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_cache", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["miniature", "miniature-dit"])
    parser.add_argument("--callers", type=int, default=16, help="that ask at once, each for another image")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 30, 50])
    parser.add_argument("--repeats", type=int, default=3, help="of each run; the median counts")
    parser.add_argument("--quick", action="store_true", help="4 callers, 30 steps, once; keeps nothing")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if arguments.quick:
        arguments.callers, arguments.steps, arguments.repeats = 4, [30], 1
    rows: list[Row] = []
    mixed: list[Mixed] = []
    print(HEAD)
    for model in arguments.models:
        for found in compare(model, arguments.callers, arguments.steps, arguments.repeats):
            if isinstance(found, Row):
                rows.append(found)
                print(line(found), flush=True)
            else:
                mixed.append(found)
    print("\n8 to 50 steps at once\n", MIXED_HEAD, *map(mixed_line, mixed), sep="\n")
    for row in rows:
        for bar in missed(row):
            print(f"missed: {row.model}, {row.sampler}, {row.steps} steps, {row.mode}: {bar}")
    if not arguments.quick:
        write(rows, mixed, RESULTS / "step-cache.json")
        plot(rows, RESULTS / "step-cache.png")


if __name__ == "__main__":
    main()
