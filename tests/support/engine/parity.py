"""Pictures from busy batches against those of the plain pipelines, for every family and task.

`python -m tests.support.engine.parity docs/parity.md` writes the table that is kept in the documentation.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import diffusers
import pytest
import torch

from core.generation.events import Clip, Picture, Sound
from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import (
    draw_together,
    frames_of,
    largest_difference,
    largest_sound_difference,
    plain_clip,
    results,
)
from tests.support.engine.recorder import Recorder
from tests.tiny import FURTHER, TINY, Tiny
from tests.tiny.conditions import tiny_ip_adapter, tiny_redux
from tests.tiny.controlnets import tiny_controlnets
from tests.tiny.images.glm_image import shorten_previews
from tests.tiny.images.qwen_image import shrink_inputs
from tests.tiny.videos.hunyuan_video import shorten_texts
from tests.tiny.videos.ltx2 import perturb_last_block

TOLERANCE = 1
"""Steps of 1/255 a pixel."""
SOUND_TOLERANCE = 128
"""Steps of 1/32767 a sample, which together are one of 1/255."""
BATCH_TOKENS = 2**16


@dataclass(frozen=True)
class Result:
    """All requests of one task, drawn amid those of the family's other tasks."""

    family: str
    task: Task
    pipeline: str
    """The class that drew it, and what was loaded into that."""
    requests: int
    difference: int
    """Largest, in steps of 1/255."""
    largest_batch: int
    """Denoiser calls in one pass, of any task of the crowd."""
    sound_difference: int | None
    """Largest, in steps of 1/32767; None of what is silent."""


def load_tiny(family: str, folder: Path, tiny: Tiny | None = None) -> LoadedModel:
    """Save a tiny checkpoint, usually the family's, into a folder, and load it as a catalogue's would be."""
    spec, checkpoint = FAMILIES[family], (tiny or TINY[family]).save(folder)
    return LoadedModel("tiny", spec, load_pipelines(spec, str(checkpoint)), torch.device("cpu"))


def load_conditioned(family: str, folder: Path, tiny: Tiny | None = None) -> LoadedModel:
    """Do the same, with ControlNets, IP-Adapter and Redux, which take longer to make than the checkpoint."""
    model, spec, tiny = load_tiny(family, folder, tiny), FAMILIES[family], tiny or TINY[family]
    adapter = tiny_redux if tiny.redux else tiny_ip_adapter if spec.ip_adapter else None
    return replace(
        model,
        controlnets=tiny_controlnets(folder, folder, spec.controlnet) if spec.controlled else {},
        ip_adapter=adapter and adapter(folder, folder),
    )


async def compare(family: str, folder: Path, tiny: Tiny | None = None) -> list[Result]:
    """Draw the family's crowd together, and each of its requests alone."""
    model, passes = load_conditioned(family, folder, tiny), Recorder()
    wanted = crowd(family, tiny or TINY[family])
    engine = Engine(model, EngineLimits(BATCH_TOKENS), passes)
    try:
        differences = await _differences(engine, model, wanted)
    finally:
        engine.close()
    return [
        Result(
            family, *drawn_by, len(found), max(seen for seen, _ in found), max(passes.denoising), _largest_sound(found)
        )
        for drawn_by, found in differences.items()
    ]


def _largest_sound(found: Iterable[tuple[int, int | None]]) -> int | None:
    return max((heard for _, heard in found if heard is not None), default=None)


async def _differences(
    engine: Engine, model: LoadedModel, wanted: Sequence[GenerationRequest]
) -> dict[tuple[Task, str], list[tuple[int, int | None]]]:
    """Return those of each request's frames, and of its sound, by what drew it."""
    differences: dict[tuple[Task, str], list[tuple[int, int | None]]] = defaultdict(list)
    for each, events in zip(wanted, await draw_together(engine, wanted), strict=True):
        drawn = results(events)
        assert len(drawn) == each.num_images, events
        frames, sound = plain_clip(model, each)
        pairs = zip(frames_of(drawn[0]), frames, strict=True)
        difference = max(largest_difference(one, other) for one, other in pairs)
        differences[each.task, _pipeline(model, each)].append((difference, _sound_difference(drawn[0], sound)))
    return differences


def _sound_difference(drawn: Picture | Clip, sound: Sound | None) -> int | None:
    own = drawn.sound if isinstance(drawn, Clip) else None
    assert (own is None) == (sound is None)
    return None if own is None or sound is None else largest_sound_difference(own, sound)


def _pipeline(model: LoadedModel, wanted: GenerationRequest) -> str:
    pipelines = model.family.pipelines if wanted.control_image is None else model.family.controlled
    adapter = "Redux" if model.ip_adapter and model.ip_adapter.is_redux else "IP-Adapter"
    given = {
        f" + {adapter}": wanted.reference_image,
        " + last frame": wanted.last_image,
        " in a background": wanted.background_video,
    }
    return pipelines[wanted.task] + "".join(name for name, image in given.items() if image is not None)


def table(results: Sequence[Result]) -> str:
    """Return the results as a Markdown page."""
    rows = [
        f"| {r.family} | {r.task} | {r.pipeline} | {r.requests} | {r.largest_batch} | {r.difference} |" for r in results
    ]
    sounds = [f"| {r.family} | {r.task} | {r.sound_difference} |" for r in results if r.sound_difference is not None]
    return "\n".join(
        (
            "# Parity: images from shared batches compared with the plain pipelines",
            "",
            "Tiny random-weight checkpoints of the real classes, on a CPU in float32. For each family, requests with",
            "different steps, guidance scales, prompts and tasks are batched together, and each is generated again",
            "by its plain pipeline alone. Qwen-Image's edits use images of 128x128 pixels instead of a megapixel,",
            "which would take minutes, HunyuanVideo reads a quarter of its tokens, and GLM-Image's language model",
            "writes no small image before the large one. SD 3's control images are encoded without chance, also by",
            "the plain pipeline, which has no seed for that.",
            f"The allowed difference is {TOLERANCE} of 255. `make parity` writes this page.",
            "",
            f"diffusers {diffusers.__version__}, torch {torch.__version__}",
            "",
            "| family | task | pipeline | requests | largest shared pass (calls) | largest difference (of 255) |",
            "| --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"The sound of clips, where at most {SOUND_TOLERANCE} of 32767 are allowed:",
            "",
            "| family | task | largest difference (of 32767) |",
            "| --- | --- | --- |",
            *sounds,
            "",
        )
    )


def main(file: Path) -> None:
    """Compare every family and write the table; leave with status 1 when a picture differs too much."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as monkeypatch:
        shrink_inputs(monkeypatch)
        shorten_texts(monkeypatch)
        shorten_previews(monkeypatch)
        perturb_last_block(monkeypatch)
        results = [r for family in TINY for r in asyncio.run(compare(family, Path(folder, family)))]
        for name, (family, tiny) in FURTHER.items():
            results += [replace(r, family=name) for r in asyncio.run(compare(family, Path(folder, name), tiny))]
    file.write_text(table(results), encoding="utf-8")
    if any(result.difference > TOLERANCE for result in results):
        sys.exit(f"{file}: pictures differ by more than {TOLERANCE} of 255")
    if any((result.sound_difference or 0) > SOUND_TOLERANCE for result in results):
        sys.exit(f"{file}: sounds differ by more than {SOUND_TOLERANCE} of 32767")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
