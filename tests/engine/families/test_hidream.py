"""What is particular to HiDream: sizes, their tokens, and a sampler that draws."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.catalogue.families import CallStage
from runners.engine.passes.module_calls import Operation
from tests.support.engine.drawing import draw_together, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, compare, load_tiny
from tests.tiny import Tiny
from tests.tiny.images.hidream import LATENT_CHANNELS, TEXT_WIDTH, tiny_hidream


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


@pytest.mark.parametrize(("height", "width"), [(8, 8), (8, 4)])
def test_a_call_has_the_tokens_that_its_denoiser_computes(height: int, width: int, tmp_path: Path) -> None:
    """Which pads an image that is not square to the most tokens that any may have."""
    model = load_tiny("hidream", tmp_path)
    part = next(part for part in model.family.parts if part.stage is CallStage.DENOISE)
    denoiser, embedded = model.components["transformer"], []
    denoiser.x_embedder.register_forward_hook(lambda _module, _inputs, output: embedded.append(output.shape))
    operation = Operation(part, denoiser)
    arguments = {
        "hidden_states": torch.ones(2, LATENT_CHANNELS, height, width),
        "timesteps": torch.ones(2),
        "encoder_hidden_states_t5": torch.ones(2, 3, TEXT_WIDTH),
        "encoder_hidden_states_llama3": torch.ones(2, 2, 3, TEXT_WIDTH),
        "pooled_embeds": torch.ones(2, 64),
    }
    call = operation.call((), arguments, {})
    with torch.no_grad():
        operation.run(**call.arguments)
    (shape,) = embedded
    assert call.tokens == shape[:2].numel()
