"""The check of `make gpu-check`, at its tiny scale; and which packages it needs on a bare GPU machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu.figures import table
from benchmarks.gpu.stages import STAGES, TOTAL_S

ROOT = Path(__file__).parents[2]
CARRIED = ROOT / "benchmarks/gpu/requirements.txt"
THERE = ("torch", "numpy", "pillow", "scipy")
"""What a machine with torch has; the last is used if it is there."""
USED_IF_THERE = {
    "gguf",
    "ftfy",
    "wcwidth",
    "rich",
    "pygments",
    "markdown-it-py",
    "mdurl",
    "chardet",
    "jubako",
    "nvidia-ml-py",
}
RUN = """
import json, sys
from importlib.metadata import packages_distributions
from benchmarks.gpu.stages import STAGES
from benchmarks.gpu.run_stages import run
for stage in STAGES:
    run(stage, full=False)
names = {module.partition(".")[0] for module in sys.modules}
owners = packages_distributions()
print(json.dumps({"packages": sorted({owner for name in names for owner in owners.get(name, ())})}))
"""


@pytest.fixture(scope="module")
def lines() -> list[dict[str, Any]]:
    """All stages in one process that has not imported anything yet: figures, and then what they imported."""
    finished = subprocess.run(
        [sys.executable, "-c", RUN], cwd=ROOT, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert finished.returncode == 0, finished.stderr[-3000:]
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]


def test_every_stage_measures_at_the_tiny_scale(lines: list[dict[str, Any]]) -> None:
    figures = lines[:-1]
    assert list(dict.fromkeys(figure["stage"] for figure in figures)) == list(STAGES)
    assert [figure for figure in figures if figure.get("failed") or "error" in figure] == []
    shown = table(figures)
    assert all(stage.expected in shown for stage in STAGES.values())
    float32 = next(figure for figure in figures if figure["what"] == "stable-diffusion, float32")
    assert float32["largest_difference"] <= 1
    repeated = next(figure for figure in figures if figure["what"].endswith("reproducible"))
    assert repeated["largest_difference"] == 0


def test_it_imports_nothing_but_torch_and_what_is_carried(lines: list[dict[str, Any]]) -> None:
    carried = {_normal(line) for line in CARRIED.read_text(encoding="utf-8").splitlines() if not line.startswith("#")}
    imported = {_normal(name) for name in lines[-1]["packages"]}
    assert imported - carried - _with_needs(THERE) - USED_IF_THERE == set()


def _with_needs(names: tuple[str, ...]) -> set[str]:
    """The packages, and all that they need."""
    found: set[str] = set()
    waiting = [_normal(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            needs = [need for need in requires(name) or () if ";" not in need]
            waiting += [_normal(re.split(r"[^\w.-]", need)[0]) for need in needs]
    return found


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_its_stages_are_expected_in_the_documentation_and_fit_into_their_time() -> None:
    page = (ROOT / "docs/gpu.md").read_text(encoding="utf-8")
    assert [name for name, stage in STAGES.items() if f"| `{name}` | {stage.expected} |" not in page] == []
    assert all(stage.limit_s <= TOTAL_S / 4 for stage in STAGES.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_stage_of_full_size_runs_on_a_gpu() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu", "sdxl"]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stdout[-3000:]
