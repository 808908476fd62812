"""A picture from a busy batch equals the plain pipeline's, to one step in 255.

Batched float32 arithmetic sums in another order (about 1e-6 a pixel), which rounding to 8 bits can turn into
one step.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import pytest
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.families.samplers import DIFFUSION
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, photo, pictures, request

TOLERANCE = 1
CROWDED = ["ddim", "dpmpp_2m", "euler", "euler_a", "euler_trailing", "heun", "lcm", "pndm", "unipc"]


async def assert_parity(engine: Engine, model: LoadedModel, wanted: Sequence[GenerationRequest]) -> None:
    for each, events in zip(wanted, await draw_together(engine, wanted), strict=True):
        drawn = pictures(events)
        assert len(drawn) == each.num_images, events
        for picture in drawn:
            assert largest_difference(picture.image, draw_plain(model, each, picture.index)) <= TOLERANCE


def crowd(scheduler: str) -> list[GenerationRequest]:
    """Requests that differ in everything that may differ inside a batch."""
    return [
        request(
            task,
            scheduler=scheduler,
            num_inference_steps=steps,
            guidance_scale=guidance,
            seed=seed,
            prompt=prompt,
        )
        for seed, (task, steps, guidance, prompt) in enumerate(
            [
                (Task.TEXT_TO_IMAGE, 4, 5.0, "a red apple"),
                (Task.IMAGE_TO_IMAGE, 6, 7.5, "a blue boat"),
                (Task.INPAINT, 9, 2.0, "a red apple"),
                (Task.TEXT_TO_IMAGE, 7, 1.0, "unguided"),
                (Task.INPAINT, 5, 1.0, "unguided"),
            ]
        )
    ]


@pytest.mark.parametrize("scheduler", CROWDED)
async def test_every_sampler_and_task_in_one_crowd(engine: Engine, tiny_model: LoadedModel, scheduler: str) -> None:
    await assert_parity(engine, tiny_model, crowd(scheduler))


async def test_all_samplers_side_by_side(engine: Engine, tiny_model: LoadedModel) -> None:
    """Those that draw noise at every step too, with every sigma schedule, in every task."""
    tasks = cycle(tiny_model.pipelines)
    wanted = [request(next(tasks), scheduler=name, seed=i, num_inference_steps=3) for i, name in enumerate(DIFFUSION)]
    await assert_parity(engine, tiny_model, wanted)


async def test_strengths(engine: Engine, tiny_model: LoadedModel) -> None:
    tasks = (Task.IMAGE_TO_IMAGE, Task.INPAINT)
    wanted = [request(t, strength=s, num_inference_steps=5) for t in tasks for s in (0.2, 0.5, 1.0)]
    await assert_parity(engine, tiny_model, wanted)


async def test_sizes(engine: Engine, tiny_model: LoadedModel) -> None:
    wanted = [request(width=w, height=h) for w, h in ((64, 64), (128, 64), (64, 128), (64, 64))]
    wanted.append(request(Task.IMAGE_TO_IMAGE, image=photo(size_px=128), width=128, height=128))
    await assert_parity(engine, tiny_model, wanted)


async def test_several_images_and_negative_prompts(engine: Engine, tiny_model: LoadedModel) -> None:
    await assert_parity(engine, tiny_model, [request(num_images=3), request(negative_prompt="blurry", num_images=2)])


async def test_each_image_of_several_can_be_had_alone(engine: Engine) -> None:
    together, alone = await draw_together(engine, [request(seed=10, num_images=2), request(seed=11)])
    assert pictures(together)[1].seed == 11
    assert largest_difference(pictures(together)[1].image, pictures(alone)[0].image) <= TOLERANCE


async def test_sdxl(xl_engine: Engine, tiny_xl_model: LoadedModel) -> None:
    await assert_parity(xl_engine, tiny_xl_model, crowd("euler"))


async def test_a_batch_mate_changes_nothing(engine: Engine) -> None:
    async def picture_beside(mates: Sequence[GenerationRequest]) -> Image.Image:
        events = await draw_together(engine, [request(seed=1), *mates])
        return pictures(events[0])[0].image

    alone = await picture_beside([])
    assert largest_difference(alone, await picture_beside(crowd("unipc"))) <= TOLERANCE
