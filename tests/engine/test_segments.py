"""Clips that are made in segments, one after the other, each with all steps."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.generation.events import Clip, Step
from core.generation.request import Task
from core.generation.step_cache import StepCache
from runners.engine.step_cache import policy
from runners.engine.step_cache.policy import Policy
from tests.support.engine.animation_videos import animated
from tests.support.engine.drawing import draw, request
from tests.support.engine.engines import running
from tests.support.engine.parity import load_tiny

STEPS, FRAMES, AT_ONCE = 12, 9, 5
SKIPPED = [4, 6, 8, 10]
"""Steps of 12 that are predicted where every error is tolerated, and one step at a time."""


async def test_steps_count_on_and_a_cache_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.POLICIES, StepCache.QUALITY, Policy(tolerance=1e9, longest_share=0.01))
    wanted = request(
        Task.IMAGE_TO_VIDEO,
        scheduler="unipc",
        num_inference_steps=STEPS,
        num_frames=FRAMES,
        fps=8,
        progress=True,
        step_cache=StepCache.QUALITY,
        **animated(FRAMES, AT_ONCE, seed=1),
    )
    assert wanted.segments == 2
    with running(load_tiny("wan-animate", tmp_path)) as (engine, _):
        events = await draw(engine, wanted)
    steps = [event for event in events if isinstance(event, Step)]
    assert [(event.step, event.steps) for event in steps] == [(number, 24) for number in range(1, 25)]
    assert [event.step - 1 for event in steps if event.skipped] == [*SKIPPED, *(STEPS + step for step in SKIPPED)]
    clip = events[-1]
    assert isinstance(clip, Clip)
    assert (len(clip.frames), clip.skipped_steps) == (FRAMES, 2 * len(SKIPPED))
