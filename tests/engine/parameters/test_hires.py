"""A second pass at a larger size: equal to the plain pipelines one after the other, and shared like any other pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from core.generation.events import Preview, Step
from core.generation.hires import SecondPass
from core.generation.request import Task
from models.catalogue.families import FAMILIES, CallStage
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from runners.engine.second_pass import resized_frames, second_request
from tests.support.engine.drawing import draw, draw_plain, draw_together, largest_difference, photo, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE, load_conditioned, load_tiny
from tests.tiny import TINY
from tests.tiny.images.qwen_image import shrink_inputs

LARGER: dict[str, Any] = {"hires": SecondPass(width=128, height=96, strength=0.6, num_inference_steps=5)}
ABLE = [name for name in TINY if {Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE} <= FAMILIES[name].pipelines.keys()]


@pytest.mark.parametrize("family", ABLE)
async def test_both_passes_equal_the_plain_pipelines(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink_inputs(monkeypatch)
    model, sampler = load_tiny(family, tmp_path), TINY[family].scheduler
    wanted = [
        request(scheduler=sampler, **LARGER),
        request(scheduler=sampler, seed=9, num_inference_steps=6, **LARGER),
        request(scheduler=sampler, seed=3),
    ]
    with running(model, batch_tokens=2**16) as (engine, recorder):
        drawn = await draw_together(engine, wanted)
    assert max(recorder.denoising) > 1
    for each, events in zip(wanted, drawn, strict=True):
        picture = pictures(events)[0].image
        assert picture.size == each.result_size
        assert largest_difference(picture, draw_plain(model, each)) <= TOLERANCE


async def test_a_second_pass_shares_with_image_to_image_of_its_size(tiny_model: LoadedModel) -> None:
    """Both denoise three steps in 96 x 96, and the one of 64 x 64 before shares with text-to-image."""
    second = SecondPass(width=96, height=96, strength=1.0, num_inference_steps=3)
    wanted = [request(hires=second, num_inference_steps=1), request(num_inference_steps=1)]
    mates = [request(hires=second, num_inference_steps=1, seed=8)]
    with running(tiny_model) as (engine, recorder):
        await draw_together(engine, [*wanted, *mates])
    assert recorder.denoising == [3, 2, 2, 2]
    assert [each.calls for each in recorder.of("vae", CallStage.ENCODE)] == [2]


async def test_steps_of_both_passes_are_counted_together(tiny_model: LoadedModel) -> None:
    wanted = request(num_inference_steps=4, progress=True, preview_every=2, **LARGER)
    assert wanted.denoising_steps == 7
    with running(tiny_model) as (engine, _):
        events = await draw(engine, wanted)
    assert [(e.step, e.steps) for e in events if isinstance(e, Step)] == [(step, 7) for step in range(1, 8)]
    assert [(e.step, e.image.size) for e in events if isinstance(e, Preview)] == [
        *((step, (8, 8)) for step in (2, 4)),
        (6, (16, 12)),
    ]


async def test_a_control_image_holds_for_both_passes(tmp_path: Path) -> None:
    model = load_conditioned("stable-diffusion", tmp_path)
    wanted = request(control_image=photo(seed=4), control_type="canny", clip_skip=1, **LARGER)
    with running(model) as (engine, recorder):
        events = await draw(engine, wanted)
    assert len(recorder.of("controlnet")) == wanted.denoising_steps
    assert largest_difference(pictures(events)[0].image, draw_plain(model, wanted)) <= TOLERANCE


async def test_guidance_ends_and_steps_are_foreseen_in_each_pass(engine: Engine) -> None:
    changes: list[dict[str, Any]] = [{}, {"guidance_end": 0.5}, {"step_cache": "fast", "num_inference_steps": 12}]
    drawn = await draw_together(engine, [request(**LARGER, **change) for change in changes])
    assert len({pictures(events)[0].image.tobytes() for events in drawn}) == len(changes)
    assert pictures(drawn[2])[0].skipped_steps > 0


def test_what_image_to_image_does_not_take_is_left_out() -> None:
    family = FAMILIES["stable-diffusion"]
    second = second_request(family, request(guidance_rescale=0.5, clip_skip=1, sigmas=(14.0, 1.0), **LARGER))
    assert (second.guidance_rescale, second.clip_skip, second.sigmas) == (0, 1, ())
    assert (second.task, second.hires, second.denoising_steps) == (Task.IMAGE_TO_IMAGE, None, 3)


@pytest.mark.parametrize("size", [(128, 96), (128, 128), (32, 24), (200, 100)])
def test_resized_as_pillow_does_it(size: tuple[int, int]) -> None:
    image = photo(size_px=64).crop((0, 0, 64, 48))
    frames = torch.from_numpy(np.array(image)).permute(2, 0, 1)[None] / 255
    got = (resized_frames(frames, size)[0] * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    expected = ImageOps.fit(image, size, Image.Resampling.LANCZOS)
    # Pillow rounds between the two directions.
    assert largest_difference(Image.fromarray(got), expected) <= 2
