"""Measure the step cache: `make benchmark-cache`; half an hour on two cores, or ARGS=--quick."""

from __future__ import annotations

import argparse

from benchmarks.step_cache.comparison import Mixed, Row, compare
from benchmarks.step_cache.report import HEAD, MIXED_HEAD, keep, line, mixed_line, seen_lines, verdicts


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_cache", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["miniature", "miniature-dit"])
    parser.add_argument("--callers", type=int, default=16, help="that ask at once, each for another image")
    parser.add_argument("--steps", type=int, nargs="+", default=[20, 30, 50])
    parser.add_argument("--rounds", type=int, default=3, help="of other images each; the median of their speeds counts")
    parser.add_argument("--quick", action="store_true", help="4 callers, 30 steps, one round; keeps nothing")
    return parser.parse_args()


def main() -> None:
    arguments = _arguments()
    if arguments.quick:
        arguments.callers, arguments.steps, arguments.rounds = 4, [30], 1
    rows: list[Row] = []
    mixed: list[Mixed] = []
    print(HEAD)
    for model in arguments.models:
        for found in compare(model, arguments.callers, arguments.steps, arguments.rounds):
            if isinstance(found, Row):
                rows.append(found)
                print(line(found), flush=True)
            else:
                mixed.append(found)
    print(*seen_lines(rows), "\n8 to 50 steps at once\n", MIXED_HEAD, *map(mixed_line, mixed), "", sep="\n")
    print(*verdicts(rows), sep="\n")
    if not arguments.quick:
        keep(rows, mixed)


if __name__ == "__main__":
    main()
