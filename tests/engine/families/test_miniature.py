"""The embedded models, through the engine: they generate what a prompt says, also for pairs they never saw."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from core.generation.request import GenerationRequest, Task
from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry
from models.miniature.captions import plain_caption
from models.miniature.concepts import Pair, held_out_pairs
from models.miniature.evaluate import border_colour, other_concepts
from models.miniature.judge import load_judge, name_concepts
from models.weights.loading import LoadedModel, load
from runners.engine.engine import Engine, EngineLimits
from settings import settings
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request

TOLERANCE = 1
FRAME_PX = 8


def entry_of(model: str) -> Entry:
    return full_catalogue(settings().catalogue).get(model)


@pytest.fixture(scope="module")
def transformer() -> LoadedModel:
    return load(entry_of("miniature-dit"), "cpu")


@pytest.fixture
def transformer_engine(transformer: LoadedModel) -> Iterator[Engine]:
    engine = Engine(transformer, EngineLimits(entry_of("miniature-dit").batch_tokens))
    yield engine
    engine.close()


def wanted(entry: Entry, pair: Pair, task: Task = Task.TEXT_TO_IMAGE, **fields: Any) -> GenerationRequest:
    defaults = entry.defaults.model_dump(exclude={"strength", "num_frames", "fps"})
    return request(task, **{"prompt": plain_caption(*pair, 0), **defaults, **fields})


async def images_of(engine: Engine, requests: list[GenerationRequest]) -> list[Image.Image]:
    return [pictures(events)[0].image for events in await draw_together(engine, requests)]


def values_of(images: list[Image.Image]) -> NDArray[np.float32]:
    return np.stack([np.asarray(image, dtype=np.float32) / 255 for image in images])


def misread(images: list[Image.Image], pairs: list[Pair]) -> list[tuple[Pair, str]]:
    """The images in which the judge sees another concept than that of their pair, and which."""
    values = torch.from_numpy(values_of(images)).permute(0, 3, 1, 2)
    named = name_concepts(load_judge(), values * 2 - 1)
    return [(pair, name) for pair, name in zip(pairs, named, strict=True) if name != pair[0]]


@pytest.mark.parametrize("model", ["miniature", "miniature-dit"])
async def test_held_out_pairs_are_drawn(model: str) -> None:
    entry = entry_of(model)
    pairs = held_out_pairs()[::6]
    engine = Engine(load(entry, "cpu"), EngineLimits(entry.batch_tokens))
    try:
        images = await images_of(engine, [wanted(entry, pair, seed=seed) for seed, pair in enumerate(pairs)])
    finally:
        engine.close()
    assert len(wrong := misread(images, pairs)) <= 1, wrong
    assert [border_colour(image) for image in values_of(images)] == [colour for _, colour in pairs]


async def test_the_transformer_paints_other_things_into_images(transformer_engine: Engine) -> None:
    entry, pairs = entry_of("miniature-dit"), held_out_pairs()[3::24]
    images = await images_of(transformer_engine, [wanted(entry, pair, seed=seed) for seed, pair in enumerate(pairs)])
    mask = Image.new("L", images[0].size, 0)
    mask.paste(255, (FRAME_PX, FRAME_PX, mask.width - FRAME_PX, mask.height - FRAME_PX))
    painted = await images_of(
        transformer_engine,
        [
            wanted(entry, pair, Task.INPAINT, image=image, mask=mask, strength=1.0)
            for pair, image in zip(other_concepts(pairs), images, strict=True)
        ],
    )
    assert misread(painted, other_concepts(pairs)) == []
    kept = np.asarray(mask) == 0
    assert np.abs(values_of(painted)[:, kept] - values_of(images)[:, kept]).mean() < 0.02


async def test_the_transformer_draws_in_a_crowd_as_alone(transformer: LoadedModel, transformer_engine: Engine) -> None:
    """A trained model amplifies what a random one hides: a wrong time or text of one sample shows in its image."""
    entry = entry_of("miniature-dit")
    crowd = [
        wanted(entry, ("fox", "blue"), seed=1, num_inference_steps=6),
        wanted(entry, ("apple", "purple"), seed=2, num_inference_steps=9, guidance_scale=1.0),
        wanted(entry, ("moon", "black"), Task.IMAGE_TO_IMAGE, image=Image.new("RGB", (128, 128), "navy"), strength=0.9),
        wanted(
            entry,
            ("tulip", "white"),
            Task.INPAINT,
            image=Image.new("RGB", (128, 128), "white"),
            mask=Image.new("L", (128, 128), 255),
            strength=0.8,
            num_inference_steps=5,
        ),
    ]
    for each, image in zip(crowd, await images_of(transformer_engine, crowd), strict=True):
        assert largest_difference(image, draw_plain(transformer, each)) <= TOLERANCE
