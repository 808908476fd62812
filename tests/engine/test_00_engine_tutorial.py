"""Start here: what the step engine does, in three tests.

`tiny_model` is a Stable Diffusion with random weights: the real diffusers classes, so small that an image takes a
fraction of a second. `running` starts an engine for it, and a recorder that remembers every forward pass.
"""

from __future__ import annotations

import asyncio

from core.generation.events import Failed, Picture, Started, Step
from models.weights.loading import LoadedModel
from tests.support.engine.drawing import draw_plain, largest_difference, request
from tests.support.engine.engines import running


async def test_a_request_becomes_an_image(tiny_model: LoadedModel) -> None:
    # A request is complete: the gateway has filled in whatever the caller left out.
    wanted = request(prompt="a red apple", num_inference_steps=4, seed=7, progress=True)

    with running(tiny_model) as (engine, _):
        # `submit` returns at once with a ticket, whose events arrive as they happen.
        events = [event async for event in engine.submit(wanted).events()]

    assert [type(event) for event in events] == [Started, Step, Step, Step, Step, Picture]
    image = events[-1]
    assert isinstance(image, Picture)
    assert (image.image.size, image.seed) == ((64, 64), 7)
    # The engine runs the pipeline of diffusers as it is, so the image is the one that diffusers alone generates.
    assert largest_difference(image.image, draw_plain(tiny_model, wanted)) <= 1


async def test_two_requests_share_forward_passes(tiny_model: LoadedModel) -> None:
    # They may differ in nearly everything: prompt, seed, guidance, and how many steps they take.
    short = request(prompt="a red apple", num_inference_steps=3, seed=1)
    long = request(prompt="a blue boat", num_inference_steps=5, seed=2)

    with running(tiny_model) as (engine, recorder):
        tickets = [engine.submit(short), engine.submit(long)]
        for ticket in tickets:
            assert [event async for event in ticket.events()][-1:] != []

    # Each step of a pipeline is one call of the denoiser, the "unet". Calls that wait at the same time share a pass,
    # whatever step they are at: three passes have two calls each, and the longer request goes on alone.
    assert recorder.batch_sizes("unet") == [2, 2, 2, 1, 1]


async def test_a_cancelled_request_leaves_at_once(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        ticket = engine.submit(request(num_inference_steps=900, progress=True))
        seen = []
        async with asyncio.timeout(60):
            async for event in ticket.events():
                seen.append(event)
                if isinstance(event, Step):
                    ticket.cancel()  # as the gateway does when its client hangs up

    # A request ends with its images, or with one `Failed` that says why there are none.
    assert isinstance(seen[-1], Failed)
    assert seen[-1].code == "cancelled"
    assert len(recorder.batch_sizes("unet")) < 900
