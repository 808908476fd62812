"""The embedded model's IP-Adapter: a reference brings its character, the prompt the rest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from core.generation.request import GenerationRequest, Lora
from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry
from models.catalogue.showing.capabilities import capabilities
from models.miniature.captions import plain_caption
from models.miniature.character import NAME as KUMO
from models.miniature.character import distance_from_fur
from models.miniature.evaluate import border_colour
from models.miniature.judge import load_judge, name_concepts
from models.weights.loading import LoadedModel, load
from settings import settings
from tests.support.engine.drawing import draw_plain, draw_together, largest_difference, pictures, request
from tests.support.engine.engines import running
from tests.support.engine.parity import TOLERANCE

OPEN = "on a blue background"
CHARACTERS = ("fox", "car", "penguin")


@pytest.fixture(scope="module")
def entry() -> Entry:
    return full_catalogue(settings().catalogue).get("miniature")


@pytest.fixture(scope="module")
def model(entry: Entry) -> LoadedModel:
    return load(entry, "cpu")


def wanted(entry: Entry, prompt: str, **changes: Any) -> GenerationRequest:
    defaults = entry.defaults.model_dump(
        include={"width", "height", "num_inference_steps", "guidance_scale", "scheduler"}
    )
    return request(prompt=prompt, **defaults | changes)


async def drawn(model: LoadedModel, requests: list[GenerationRequest]) -> list[Image.Image]:
    with running(model) as (engine, _):
        return [pictures(events)[0].image for events in await draw_together(engine, requests)]


def values_of(images: list[Image.Image]) -> NDArray[np.float32]:
    """(N, h, w, 3) in 0..1."""
    return np.stack([np.asarray(image, dtype=np.float32) / 255 for image in images])


def seen(images: list[Image.Image]) -> list[tuple[str, str]]:
    """The concept and the background of each picture."""
    values = values_of(images)
    names = name_concepts(load_judge(), torch.from_numpy(values).permute(0, 3, 1, 2) * 2 - 1)
    return list(zip(names, map(border_colour, values), strict=True))


async def test_the_reference_brings_the_character_and_the_prompt_the_background(
    entry: Entry, model: LoadedModel
) -> None:
    references = await drawn(model, [wanted(entry, f"a {name} on a red background") for name in CHARACTERS])
    guided = [wanted(entry, OPEN, reference_image=reference, reference_scale=1.0) for reference in references]
    weakly = [
        wanted(entry, f"a {name} on a blue background", reference_image=reference, reference_scale=0.2)
        for name, reference in zip(CHARACTERS, references, strict=True)
    ]
    images = await drawn(model, [*guided, wanted(entry, OPEN), *weakly])
    expected = [(name, "blue") for name in CHARACTERS]
    *found, without = seen(images[: len(guided) + 1])
    assert found == expected
    assert without not in expected
    assert seen(images[len(guided) + 1 :]) == expected
    assert largest_difference(images[0], draw_plain(model, guided[0])) <= TOLERANCE


async def test_a_character_that_only_its_lora_knows_looks_the_same_everywhere(entry: Entry, model: LoadedModel) -> None:
    colours = ("blue", "white", "green")
    kumos = [
        wanted(entry, plain_caption(KUMO, colour, 1), loras=(Lora(name=KUMO),), seed=seed)
        for seed, colour in enumerate(colours)
    ]
    others = [
        wanted(entry, "a fox on a pink background", loras=(Lora(name=KUMO),)),
        wanted(entry, plain_caption(KUMO, "blue", 1)),
    ]
    images = await drawn(model, kumos + others)
    *from_fur, of_fox, without = distance_from_fur(values_of(images))
    assert max(from_fur) < 0.2 < min(of_fox, without)
    assert [colour for _, colour in seen(images[: len(kumos)])] == list(colours)
    assert seen(images)[len(kumos)] == ("fox", "pink")


def test_the_catalogue_says_what_calls_the_character_up(entry: Entry) -> None:
    shown = capabilities(entry)
    assert shown["lora_triggers"] == {KUMO: KUMO}
    assert shown["ip_adapter"]
    assert set(shown["loras"]) == {"sketch", "frame", KUMO}
