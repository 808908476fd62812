"""Clips: checkpoints with two transformers, and what arrives before the last frame."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from core.generation.events import Clip, Preview, Step
from models.catalogue.families import FAMILIES
from models.weights.pipelines.previews import LatentPreview
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.drawing import draw, request
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, compare, load_tiny
from tests.tiny import FURTHER, TINY, Tiny
from tests.tiny.videos.wan import tiny_wan_a14b


@pytest.mark.parametrize(
    ("family", "tiny"),
    [
        ("wan", Tiny(tiny_wan_a14b, "unipc", num_frames=5)),
        ("wan", Tiny(tiny_wan_a14b, "flow_euler", num_frames=5)),
        FURTHER["wan-i2v of 2.2"],
    ],
)
async def test_checkpoints_with_two_transformers_are_drawn_as_alone(family: str, tiny: Tiny, tmp_path: Path) -> None:
    results = await compare(family, tmp_path, tiny)
    assert max(result.difference for result in results) <= TOLERANCE
    assert all(result.largest_batch > 1 for result in results), "nothing was shared"


@pytest.mark.parametrize(
    ("family", "channels", "size_px"),
    [("wan", 16, 8), ("wan-i2v", 16, 8), ("wan-ti2v", 48, 4), ("ltx", 8, 2), ("ltx-distilled", 8, 2), ("ltx-2", 8, 2)],
)
async def test_steps_and_previews_arrive_before_the_clip(
    family: str, channels: int, size_px: int, tmp_path: Path
) -> None:
    tiny = TINY[family]
    model = replace(load_tiny(family, tmp_path), preview=LatentPreview([[0.01] * 3] * channels, [0.0] * 3))
    engine = Engine(model, EngineLimits(BATCH_TOKENS))
    try:
        for task in FAMILIES[family].pipelines:
            wanted = {"scheduler": tiny.scheduler, "num_frames": tiny.num_frames, "num_inference_steps": 8, "fps": 16}
            events = await draw(engine, request(task, **wanted, progress=True, preview_every=4))
            assert [event.step for event in events if isinstance(event, Step)] == list(range(1, 9))
            previews = [event.image.size for event in events if isinstance(event, Preview)]
            assert previews == [(size_px, size_px)] * 2
            clip = events[-1]
            assert isinstance(clip, Clip)
            assert (len(clip.frames), clip.fps, clip.seed) == (tiny.num_frames, 16, 7)
    finally:
        engine.close()
