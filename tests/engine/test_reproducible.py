"""In half precision, a request that asks for it has the same bytes alone and among others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
from runners.engine.engine import Engine, EngineLimits
from runners.engine.passes.module_calls import FIXED_CALLS
from tests.support.engine.drawing import draw_together, frames_of, largest_difference, request, results
from tests.support.engine.recorder import Recorder
from tests.tiny import TINY

TOKENS = 2**16


@pytest.mark.parametrize("family", ["qwen-image", "stable-diffusion-xl", "flux", "z-image"])
async def test_the_same_request_has_the_same_bytes_in_a_crowd(family: str, tmp_path: Path) -> None:
    model = in_bfloat16(family, tmp_path)
    wanted = asked(family, 0, reproducible=True)
    crowd = [asked(family, seed, reproducible=True) for seed in range(1, 6)]
    others = [asked(family, seed) for seed in range(6, 8)]
    (alone,), _ = await drawn(model, [wanted])
    among, passes = await drawn(model, [*crowd, wanted, *others])
    assert among[len(crowd)].tobytes() == alone.tobytes()
    assert 1 < max(passes.denoising) <= FIXED_CALLS, "nothing was shared, or more than fits"


async def test_without_it_a_crowd_may_change_the_bytes(tmp_path: Path) -> None:
    model = in_bfloat16("qwen-image", tmp_path)
    (alone,), _ = await drawn(model, [asked("qwen-image", 0)])
    among, _ = await drawn(model, [asked("qwen-image", seed) for seed in range(6)])
    assert largest_difference(alone, among[0]) > 0, "all sizes are computed alike here, so the other test says nothing"


def in_bfloat16(family: str, folder: Path) -> LoadedModel:
    spec = FAMILIES[family]
    pipelines = load_pipelines(spec, TINY[family].save(folder), dtype=torch.bfloat16)
    return LoadedModel("tiny", spec, pipelines, torch.device("cpu"))


def asked(family: str, seed: int, reproducible: bool = False) -> GenerationRequest:
    """A request whose prompt has a length of its own."""
    return request(
        Task.TEXT_TO_IMAGE,
        prompt="a red apple" + " and a pear" * (seed % 3),
        seed=seed,
        num_inference_steps=6,
        scheduler=TINY[family].scheduler,
        reproducible=reproducible,
    )


async def drawn(model: LoadedModel, wanted: Sequence[GenerationRequest]) -> tuple[list[Image.Image], Recorder]:
    passes = Recorder()
    engine = Engine(model, EngineLimits(TOKENS), passes)
    try:
        events = await draw_together(engine, wanted)
    finally:
        engine.close()
    return [frames_of(results(each)[0])[0] for each in events], passes
