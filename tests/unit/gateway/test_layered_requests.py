"""Requests whose images are the layers of one: what is asked of them, and that they are made at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from typing import Any, cast

import pytest
from PIL import Image

from api.a1111.answers import Results
from api.a1111.requests.drafting import AdmittedDrawing
from api.a1111.requests.forms import ImageForm
from api.a1111.session.running_requests import Drawing
from core.caller import Caller, set_caller
from core.errors import InvalidRequest
from core.generation.draft import Draft
from core.generation.events import Event, Picture
from core.generation.request import GenerationRequest, Task
from gateway.gateway import Gateway
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import Catalogue, full_catalogue
from models.catalogue.resolving.resolve import resolve
from standalone.in_process import Unmetered
from tests.support.engine.drawing import request
from tests.support.resolving import LIMITS_OF_SERVER

LAYERED = Catalogue([full_catalogue(None).get("qwen-image-layered")])


def taking_apart(size: tuple[int, int], **fields: Any) -> Draft:
    given = {"images": (Image.new("RGB", size),), "num_images": 2, **fields}
    return Draft(prompt="an apple", task=Task.EDIT, **given)


@pytest.mark.parametrize(
    ("image", "asked", "size"),
    [
        ((1600, 900), (1024, 1024), (1376, 768)),
        ((1600, 900), (512, 512), (864, 480)),
        ((900, 1600), (1376, 768), (768, 1376)),
        ((1600, 900), (1376, 768), (1376, 768)),
    ],
)
def test_layers_have_the_proportions_of_their_image(
    image: tuple[int, int], asked: tuple[int, int], size: tuple[int, int]
) -> None:
    wanted = resolve(taking_apart(image, width=asked[0], height=asked[1]), LAYERED, LIMITS_OF_SERVER)
    assert (wanted.width, wanted.height) == size
    told = f"width: {asked[0]}x{asked[1]} became {size[0]}x{size[1]}, the nearest size that the model generates"
    assert wanted.hints == (() if asked == size else (told,))


@pytest.mark.parametrize("image", [(64, 64), (100, 70), (333, 1000), (640, 83), (1600, 900), (4000, 3000)])
def test_the_size_of_layers_leads_to_itself(image: tuple[int, int]) -> None:
    first = resolve(taking_apart(image), LAYERED, LIMITS_OF_SERVER)
    again = resolve(taking_apart(image, width=first.width, height=first.height), LAYERED, LIMITS_OF_SERVER)
    assert (again.width, again.height, again.hints) == (first.width, first.height, first.hints)


def test_a_mask_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="mask: qwen-image-layered takes none"):
        resolve(taking_apart((640, 640), mask=Image.new("L", (640, 640))), LAYERED, LIMITS_OF_SERVER)


async def test_no_contract_allows_more_layers_than_the_server() -> None:
    limits = replace(LIMITS_OF_SERVER, max_num_images=4)
    gateway = Gateway(LAYERED, {}, limits, cast(Any, None), Unmetered(), ContentPolicy())
    assert (await gateway.admit(taking_apart((640, 640), num_images=4), max_images=10)).num_images == 4
    with pytest.raises(InvalidRequest, match="num_images: 5"):
        await gateway.admit(taking_apart((640, 640), num_images=5), max_images=10)


class Recorded:
    """A gateway that notes what it is to draw."""

    def __init__(self) -> None:
        self.drawn: list[tuple[int, int]] = []

    async def draw(self, wanted: GenerationRequest, *, keep: bool) -> AsyncGenerator[Event, None]:
        self.drawn.append((wanted.num_images, wanted.seed))
        for index in range(wanted.num_images):
            yield Picture(index, wanted.seed, Image.new("RGBA", (8, 8)))


@pytest.mark.parametrize(("layered", "drawn"), [(True, [(6, 7)]), (False, [(2, 7), (2, 9), (2, 11)])])
async def test_the_web_uis_batches_are_one_of_layers(layered: bool, drawn: list[tuple[int, int]]) -> None:
    set_caller(Caller("alice"))
    gateway = Recorded()
    form = ImageForm(init_images=(Image.new("RGB", (8, 8)),), batch_size=2, n_iter=3)
    wanted = request(Task.EDIT, num_images=6, seed=7, layered=layered)
    results = Results(cast(Any, gateway), admitted := AdmittedDrawing(form, wanted, None))
    await results.draw(Drawing("img2img", admitted.parts, 4))
    assert gateway.drawn == drawn
    assert [picture.index for picture in results.pictures] == list(range(6))
