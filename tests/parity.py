"""Pictures from busy batches against those of the plain pipelines, for every family and task.

`python -m tests.parity docs/parity.md` writes the table that is kept in the documentation.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import diffusers
import torch

from models.families import FAMILIES, Stage
from models.loading import LoadedModel, load_pipelines
from models.request import GenerationRequest, Task
from runners.engine import Engine, EngineLimits
from runners.executor import Pass
from runners.observer import EngineObserver
from tests.crowds import crowd
from tests.drawing import draw_together, frames_of, largest_difference, plain_frames, results
from tests.tiny import TINY, Tiny

TOLERANCE = 1
"""Steps of 1/255 a pixel."""
BATCH_TOKENS = 2**16


@dataclass(frozen=True)
class Result:
    """All requests of one task, drawn amid those of the family's other tasks."""

    family: str
    task: Task
    requests: int
    difference: int
    """Largest, in steps of 1/255."""
    largest_batch: int
    """Denoiser calls in one pass, of any task of the crowd."""


class _Passes(EngineObserver):
    def __init__(self) -> None:
        self.largest = 0

    def on_pass(self, forward: Pass) -> None:
        if forward.part.stage is Stage.DENOISE:
            self.largest = max(self.largest, forward.calls)


def load_tiny(family: str, folder: Path, tiny: Tiny | None = None) -> LoadedModel:
    """Save a tiny checkpoint, usually the family's, into a folder, and load it as a catalogue's would be."""
    pipelines = load_pipelines(FAMILIES[family], str((tiny or TINY[family]).save(folder)))
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))


async def compare(family: str, folder: Path, tiny: Tiny | None = None) -> list[Result]:
    """Draw the family's crowd together, and each of its requests alone."""
    model, passes = load_tiny(family, folder, tiny), _Passes()
    wanted = crowd(family, tiny or TINY[family])
    engine = Engine(model, EngineLimits(BATCH_TOKENS), passes)
    try:
        differences = await _differences(engine, model, wanted)
    finally:
        engine.close()
    return [Result(family, task, len(found), max(found), passes.largest) for task, found in differences.items()]


async def _differences(
    engine: Engine, model: LoadedModel, wanted: Sequence[GenerationRequest]
) -> dict[Task, list[int]]:
    differences: dict[Task, list[int]] = defaultdict(list)
    for each, events in zip(wanted, await draw_together(engine, wanted), strict=True):
        drawn = results(events)
        assert len(drawn) == each.num_images, events
        pairs = zip(frames_of(drawn[0]), plain_frames(model, each), strict=True)
        differences[each.task].append(max(largest_difference(one, other) for one, other in pairs))
    return differences


def table(results: Iterable[Result]) -> str:
    """Return the results as a Markdown page."""
    rows = [
        f"| {r.family} | {r.task} | {FAMILIES[r.family].pipelines[r.task]} | {r.requests} | {r.largest_batch} "
        f"| {r.difference} |"
        for r in results
    ]
    return "\n".join(
        (
            "# Parity: pictures from shared batches against the plain pipelines",
            "",
            "Tiny random-weight checkpoints of the real classes, CPU, float32. Requests of one family are drawn",
            "together, with different steps, guidances, prompts and tasks, and each again by its plain pipeline alone.",
            f"The bar is {TOLERANCE} step of 255. `make parity` writes this page.",
            "",
            f"diffusers {diffusers.__version__}, torch {torch.__version__}",
            "",
            "| family | task | pipeline | requests | largest shared pass (calls) | largest difference (of 255) |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
        )
    )


def main(file: Path) -> None:
    """Compare every family and write the table; leave with status 1 when a picture differs too much."""
    with tempfile.TemporaryDirectory() as folder:
        results = [r for family in TINY for r in asyncio.run(compare(family, Path(folder, family)))]
    file.write_text(table(results), encoding="utf-8")
    if any(result.difference > TOLERANCE for result in results):
        sys.exit(f"{file}: pictures differ by more than {TOLERANCE} of 255")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
