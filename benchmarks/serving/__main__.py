"""Compare Jubako with LitServe, Ray Serve, BentoML's batching and a plain server, in one run with the same weights.

    python -m benchmarks.serving [--quick] [--repeats N] [--only SECTION ...] [--servers NAME ...] [--checkpoint FOLDER]

Prints the figures, the targets, and one line of JSON. A whole run also writes `benchmarks/results/serving.{json,png}`
and the figures in README.md and docs/benchmarks.md; any other writes its JSON into `benchmarks/scratch`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, replace
from pathlib import Path

import psutil

from benchmarks.measured_model import SCRATCH, measured_entry, server_environment
from benchmarks.servers import PEERS_PYTHON, SERVERS
from benchmarks.serving.beyond_engine import beyond_engine_ms
from benchmarks.serving.comparison import Points, compare
from benchmarks.serving.documents import write_pages
from benchmarks.serving.engine_vs_plain import measure_sides
from benchmarks.serving.measures import targets
from benchmarks.serving.plan import ALONE, FULL, MIXED, QUICK, SHORT, UNIFORM
from benchmarks.serving.report import print_report
from benchmarks.serving.results import FILE, FOLDER, ServingResults

ENGINE, BEYOND_ENGINE = "engine", "beyond-engine"
SECTIONS = (ENGINE, BEYOND_ENGINE, ALONE, UNIFORM, MIXED, SHORT)


def main() -> None:
    options = _options()
    if _compares(options.only or SECTIONS) and not PEERS_PYTHON.exists():
        sys.exit("LitServe and Ray Serve are not installed; tools/need-peers installs them")
    started_s = time.perf_counter()
    results = _measure(options)
    results.machine["seconds"] = round(time.perf_counter() - started_s)
    print_report(results)
    whole = not (options.quick or options.only or options.servers or options.checkpoint)
    results.write((FOLDER if whole else SCRATCH) / FILE)
    if whole:
        write_pages(results)
    print(json.dumps(asdict(results)))
    if options.strict and not all(target.reached for target in targets(results)):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few requests and one repeat: ten minutes, to try things")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, help="sections to run; default: all")
    parser.add_argument("--servers", nargs="+", choices=SERVERS, help="servers to run; default: all")
    parser.add_argument("--checkpoint", type=Path, help="other weights of the stable-diffusion family")
    parser.add_argument("--repeats", type=int, help="rounds over all servers; default: 4")
    parser.add_argument("--device", default="auto", help="as JUBAKO_DEVICE")
    parser.add_argument("--threads", type=int, default=_cores(), help="torch's threads, everywhere; default: the cores")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    return parser.parse_args()


def _cores() -> int:
    """Return the number of physical cores for this process, without hyperthreads."""
    usable = len(os.sched_getaffinity(0))
    return min(usable, psutil.cpu_count(logical=False) or usable)


def _compares(sections: Collection[str]) -> bool:
    """Whether the sections include ones that measure other servers."""
    return not {*sections} <= {ENGINE, BEYOND_ENGINE}


def _measure(options: argparse.Namespace) -> ServingResults:
    plan = QUICK if options.quick else FULL
    plan = replace(plan, repeats=options.repeats or plan.repeats)
    sections = options.only or SECTIONS
    environment = server_environment(options.checkpoint, options.device, options.threads)
    # This process uses the same settings as the servers; nothing has read them yet.
    os.environ.update(environment)
    entry = measured_entry()
    machine, engine = measure_sides(environment, plan.engine_pairs if ENGINE in sections else 0)
    machine |= {
        "model": str(options.checkpoint.name if options.checkpoint else entry.id),
        "quick": options.quick,
        "repeats": plan.repeats,
    }
    servers = [SERVERS[name] for name in options.servers or SERVERS]
    size = entry.defaults.width, entry.defaults.height
    beyond_ms = asyncio.run(beyond_engine_ms(environment, plan.beyond_engine)) if BEYOND_ENGINE in sections else None
    points: Points = {}
    if _compares(sections):
        points = asyncio.run(compare(servers, sections, plan, environment, size))
    return ServingResults(machine, engine, points, beyond_ms)


if __name__ == "__main__":
    main()
