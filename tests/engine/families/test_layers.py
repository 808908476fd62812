"""An image that is taken apart: its layers are the images of one request, transparent, and made at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.generation.events import Step
from core.generation.request import Task
from models.catalogue.families import CallStage
from tests.support.engine.drawing import draw_together, largest_difference, photo, pictures, plain_frames, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny
from tests.tiny.images.qwen_image import shrink_inputs


async def test_layers_are_those_of_the_plain_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_inputs(monkeypatch)
    model = load_tiny("qwen-image-layered", tmp_path)
    three = request(Task.EDIT, images=(photo(),), scheduler="flow_euler", num_images=3, layered=True, progress=True)
    other = three.model_copy(update={"images": (photo(1),), "prompt": "a blue boat on the sea", "seed": 9})
    with running(model, batch_tokens=BATCH_TOKENS) as (engine, passes):
        drawn = await draw_together(engine, [three, other])
    for wanted, events in zip((three, other), drawn, strict=True):
        layers, plain = pictures(events), plain_frames(model, wanted)
        assert [(layer.index, layer.seed, layer.image.mode) for layer in layers] == [
            (number, wanted.seed, "RGBA") for number in range(3)
        ]
        assert max(map(largest_difference, (layer.image for layer in layers), plain)) <= TOLERANCE
        assert {event.index for event in events if isinstance(event, Step)} == {0, 1, 2}, "all make progress together"
    assert max(passes.samples("transformer", CallStage.DENOISE)) == 2, "a decomposition is one sample, of both requests"
    assert max(passes.samples("vae", CallStage.DECODE)) >= 3
    # Three layers are three images that run: with room for four, the other request waits.
    short = [each.model_copy(update={"num_inference_steps": 1}) for each in (three, other)]
    with running(model, batch_tokens=BATCH_TOKENS, max_running=4) as (engine, passes):
        assert [len(pictures(events)) for events in await draw_together(engine, short)] == [3, 3]
    assert max(passes.samples("transformer", CallStage.DENOISE)) == 1
