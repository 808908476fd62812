"""Measure the engine on this machine's GPU: each stage in a process of its own, with a time limit.

    python -m benchmarks.gpu [--scale tiny] [--out FILE] [STAGE ...]

Writes figures as JSON lines as they come, and a table of all at the end. `docs/gpu.md` says what to expect.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.gpu.figures import line, table
from benchmarks.gpu.stages import STAGES, TOTAL_S

REPOSITORY = Path(__file__).parents[2]
OUT = REPOSITORY / "benchmarks" / "scratch" / "gpu.jsonl"


def main() -> None:
    options = _options()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figures = []
    with options.out.open("w", encoding="utf-8") as out:
        for figure in _measure(options.stages or [*STAGES], options.scale):
            figures.append(figure)
            print(line(figure), flush=True)
            out.write(line(figure) + "\n")
            out.flush()
    print(table(figures))
    if any("error" in figure for figure in figures):
        sys.exit(1)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("stages", nargs="*", choices=[*STAGES, []], metavar="STAGE", help=f"of {', '.join(STAGES)}")
    parser.add_argument("--scale", choices=("full", "tiny"), default="full", help="of the models; tiny runs on a CPU")
    parser.add_argument("--out", type=Path, default=OUT, help="where the JSON lines go; default: %(default)s")
    return parser.parse_args()


def _measure(stages: list[str], scale: str) -> Iterator[dict[str, Any]]:
    ends_at_s = time.monotonic() + TOTAL_S
    for stage in stages:
        yield from _run(stage, scale, min(STAGES[stage].limit_s, ends_at_s - time.monotonic()))


def _run(stage: str, scale: str, limit_s: float) -> Iterator[dict[str, Any]]:
    """Yield the figures that a stage completes in time, and an error if it did not complete them all."""
    if limit_s <= 0:
        yield {"stage": stage, "what": "the stage", "error": "no time was left"}
        return
    command = [sys.executable, "-m", "benchmarks.gpu.run_stages", scale, stage]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) as process:
        error = None
        try:
            output, _ = process.communicate(timeout=limit_s)
        except subprocess.TimeoutExpired:
            process.kill()
            output, _ = process.communicate()
            error = f"stopped after {limit_s:.0f} s"
    if error is None and process.returncode:
        error = f"ended with {process.returncode}; its message is above"
    yield from (json.loads(text) for text in output.splitlines() if text.startswith("{"))
    if error is not None:
        yield {"stage": stage, "what": "the stage", "error": error}


if __name__ == "__main__":
    main()
