"""Whether an image is the same in a crowd as alone, for tiny models of eight families."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.gpu.measuring import difference, drawing, request
from benchmarks.gpu.setup import Setup
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
from tests.tiny import TINY

COMPARED = (
    "stable-diffusion",
    "stable-diffusion-xl",
    "stable-diffusion-3",
    "flux",
    "qwen-image",
    "z-image",
    "wan",
    "ltx",
)
SIZE_PX = 64


def same(setup: Setup) -> None:
    for family in COMPARED if setup.full else COMPARED[:1]:
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = TINY[family].save(Path(folder))
            for dtype in (torch.float32, torch.bfloat16):
                model = _load(setup, family, checkpoint, dtype)
                _compare(setup, model, dtype, reproducible=False)
            _compare(setup, model, torch.bfloat16, reproducible=True)


def _load(setup: Setup, family: str, checkpoint: Path, dtype: torch.dtype) -> LoadedModel:
    spec = FAMILIES[family]
    pipelines = load_pipelines(spec, str(checkpoint), device=str(setup.device), dtype=dtype)
    return LoadedModel(family, spec, pipelines, setup.device)


def _compare(setup: Setup, model: LoadedModel, dtype: torch.dtype, *, reproducible: bool) -> None:
    tiny, is_video = TINY[model.id], next(iter(model.pipelines)).is_video
    frames = {"num_frames": tiny.num_frames} if is_video else {}
    requests = [
        request(
            model,
            number,
            steps=setup.steps(6),
            size_px=SIZE_PX,
            sampler=tiny.scheduler,
            reproducible=reproducible,
            **frames,
        )
        for number in range(6 if setup.full else 3)
    ]
    with drawing(setup, model) as draw:
        alone = [draw([each]).results[0] for each in requests]
        crowd = draw(requests)
    setup.emit(
        what=f"{model.id}, {str(dtype).removeprefix('torch.')}{', reproducible' if reproducible else ''}",
        largest_difference=max(float(difference(*pair).max()) for pair in zip(alone, crowd.results, strict=True)),
        calls=crowd.figures()["calls"],
    )
