"""What is particular to HiDream: sizes, and a sampler that draws."""

from __future__ import annotations

from pathlib import Path

from tests.support.engine.drawing import draw_together, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, compare, load_tiny
from tests.tiny import Tiny
from tests.tiny.images.hidream import tiny_hidream


async def test_a_sampler_that_draws_does_so_from_each_images_seed(tmp_path: Path) -> None:
    (result,) = await compare("hidream", tmp_path, Tiny(tiny_hidream, "lcm"))
    assert result.difference <= TOLERANCE


async def test_images_have_the_size_asked_for(tmp_path: Path) -> None:
    """And not that of a megapixel in their proportions, to which the pipeline scales."""
    model = load_tiny("hidream", tmp_path)
    wanted = [request(scheduler="unipc", num_inference_steps=2, width=w, height=h) for w, h in ((96, 64), (64, 80))]
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, _):
        drawn = await draw_together(engine, wanted)
    assert [pictures(events)[0].image.size for events in drawn] == [(96, 64), (64, 80)]
