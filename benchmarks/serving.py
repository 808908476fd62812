"""Compare Jubako with the plain server and with adaptive batching, in one run with the same weights.

    python -m benchmarks.serving [--quick] [--only SECTION ...] [--checkpoint FOLDER]

Prints tables, the targets, and one line of JSON; writes `benchmarks/results/serving.{json,png}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.comparison import SHORT, WORKLOADS, Results, compare
from benchmarks.inprocess import Bench, Efficiency, Overhead, measure_efficiency, measure_overhead
from benchmarks.plan import FULL, QUICK, Workloads
from benchmarks.plot import plot
from benchmarks.report import ServingResults, bars, print_report
from benchmarks.subject import REPOSITORY, measured_entry, server_environment
from models.catalogue.entry import Entry
from models.weights.devices import resolve_device

ENGINE = "engine"
SECTIONS = {ENGINE: ENGINE, **{name: name for name in WORKLOADS}, "short": SHORT}


def main() -> None:
    options = _options()
    if options.threads:
        torch.set_num_threads(options.threads)
    started_s = time.perf_counter()
    measured = asyncio.run(_measure(options))
    measured.machine["seconds"] = round(time.perf_counter() - started_s)
    print_report(measured)
    _write(measured, options.results)
    print(json.dumps(measured.as_json()))
    if options.strict and not all(bar.reached for bar in bars(measured)):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="few requests: a smoke test")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS), help="sections to run")
    parser.add_argument("--checkpoint", type=Path, help="other weights of the stable-diffusion family")
    parser.add_argument("--device", default="auto", help="as JUBAKO_DEVICE")
    parser.add_argument("--threads", type=int, help="torch's threads, everywhere; default: torch's own choice")
    parser.add_argument("--results", type=Path, default=REPOSITORY / "benchmarks" / "results")
    parser.add_argument("--strict", action="store_true", help="exit with 1 when a bar is missed")
    return parser.parse_args()


async def _measure(options: argparse.Namespace) -> ServingResults:
    plan = QUICK if options.quick else FULL
    environment = server_environment(options.checkpoint, options.device, torch.get_num_threads())
    # This process uses the same settings as the servers; nothing has read them yet.
    os.environ.update(environment)
    entry = measured_entry()
    overhead, efficiency = None, None
    if ENGINE in options.only:
        overhead, efficiency = await _measure_engine(entry, plan)
    http: Results = {}
    for section in (SECTIONS[name] for name in SECTIONS if name in options.only and name != ENGINE):
        size = entry.defaults.width, entry.defaults.height
        http[section] = await compare(section, plan, environment, size)
    return ServingResults(_machine(entry, options), http, overhead, efficiency)


async def _measure_engine(entry: Entry, plan: Workloads) -> tuple[Overhead, Efficiency]:
    bench = Bench(entry)
    try:
        overhead = await measure_overhead(bench, plan.overhead_pairs)
        return overhead, await measure_efficiency(bench, plan.saturation_rounds)
    finally:
        bench.engine.close()


def _machine(entry: Entry, options: argparse.Namespace) -> dict[str, Any]:
    device = resolve_device(options.device)
    cores = f"{len(os.sched_getaffinity(0))} CPU cores"
    return {
        "title": cores if device == "cpu" else torch.cuda.get_device_name(),
        "model": str(options.checkpoint.name if options.checkpoint else entry.id),
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "quick": options.quick,
    }


def _write(measured: ServingResults, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "serving.json").write_text(json.dumps(measured.as_json(), indent=1) + "\n", encoding="utf-8")
    plot(measured, folder / "serving.png")


if __name__ == "__main__":
    main()
