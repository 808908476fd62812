"""Run stages in this process and print their figures: `python -m benchmarks.gpu.run_stages full|tiny STAGE...`."""

from __future__ import annotations

import gc
import platform
import sys
import time
from functools import partial
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
import transformers

from benchmarks.gpu.figures import line
from benchmarks.gpu.setup import Setup
from benchmarks.gpu.stages import STAGES


def run(name: str, full: bool) -> None:
    setup = Setup.here(full, partial(_emit, name))
    # Imported modules are most of what each search for unused memory would look through.
    gc.collect()
    gc.freeze()
    started_s = time.perf_counter()
    setup.emit(what="machine", **_machine(setup))
    resolve_name(STAGES[name].function)(setup)
    setup.emit(what="the stage", seconds=time.perf_counter() - started_s)


def _machine(setup: Setup) -> dict[str, str]:
    return {
        "device": torch.cuda.get_device_name() if setup.on_gpu else f"CPU, {platform.machine()}",
        "torch": torch.__version__,
        "diffusers": diffusers.__version__,
        "transformers": transformers.__version__,
    }


def _emit(stage: str, **figure: Any) -> None:
    print(line({"stage": stage, **figure}), flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "full" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU here; `--scale tiny` tries the check out on a CPU")
    for each in sys.argv[2:]:
        run(each, full=sys.argv[1] == "full")
