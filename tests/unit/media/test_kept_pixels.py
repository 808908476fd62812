"""What a mask does not mark stays exactly as it is, whatever draws."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from core.generation.draft import Draft
from core.generation.events import Event, Picture, Started
from core.generation.request import GenerationRequest, Task
from core.pixels.fitting import Fit
from gateway.gateway import Gateway
from gateway.media.kept_pixels import on_white
from gateway.media.reading.decoded_kinds import MASK
from gateway.media.reading.decoding import uploaded
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.catalogue import Catalogue
from standalone.in_process import Unmetered
from tests.support.image_files import colours, saved
from tests.support.resolving import LIMITS_OF_SERVER, TINY_ENTRY

SIZE = (64, 48)
MAX_PX = 64_000_000


class Painter:
    """A runner that ignores masks."""

    def __init__(self, paint: Image.Image | None = None) -> None:
        self._paint = paint or Image.new("RGB", SIZE, (255, 0, 255))

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        yield Started(0.0, "read")
        for index in range(request.num_images):
            yield Picture(index, index, self._paint.resize((request.width, request.height)))


def gateway(paint: Image.Image | None = None) -> Gateway:
    @asynccontextmanager
    async def using(*_: object) -> AsyncIterator[None]:
        yield

    residency: Any = SimpleNamespace(using=using)
    return Gateway(
        Catalogue([TINY_ENTRY]),
        {"tiny": cast(Any, Painter(paint))},
        LIMITS_OF_SERVER,
        residency,
        Unmetered(),
        ContentPolicy(),
    )


async def drawn(**fields: Any) -> list[Image.Image]:
    request = await gateway().admit(Draft(prompt="an apple", **fields))
    return [event.image async for event in gateway().draw(request) if isinstance(event, Picture)]


def ramp() -> Image.Image:
    """A mask from kept to repainted, in every shade."""
    return Image.linear_gradient("L").resize(SIZE)


@pytest.mark.parametrize("as_files", [True, False], ids=["uploads", "pixels"])
@pytest.mark.parametrize("fit", [None, *Fit])
async def test_kept_pixels_are_the_inputs_and_grey_ones_are_blended(as_files: bool, fit: Fit | None) -> None:
    image, mask = colours(*SIZE), ramp()
    files: dict[str, Any] = {"image": image, "mask": mask}
    if as_files:
        files = {
            "image": uploaded(saved(image), "image", MAX_PX),
            "mask": uploaded(saved(mask), "mask", MAX_PX, MASK),
        }
    results = await drawn(task=Task.INPAINT, num_images=2, fit=fit, **files)
    share = np.asarray(mask, dtype=float)[..., None] / 255
    wanted = np.array([255, 0, 255]) * share + np.asarray(image, dtype=float) * (1 - share)
    assert len(results) == 2
    for result in results:
        assert np.abs(np.asarray(result, dtype=float) - wanted).max() <= 1
        kept = np.asarray(mask) == 0
        assert (np.asarray(result)[kept] == np.asarray(image)[kept]).all()


async def test_kept_pixels_are_those_of_the_fitted_image() -> None:
    image, mask = colours(200, 100), Image.new("L", (200, 100), 0)
    (result,) = await drawn(task=Task.INPAINT, image=image, mask=mask, width=64, height=64, fit=Fit.PAD)
    padded = Image.new("RGB", (64, 64), "white")
    padded.paste(image.resize((64, 32), Image.Resampling.LANCZOS), (0, 16))
    assert result == padded


async def test_other_tasks_are_as_they_were_generated() -> None:
    (result,) = await drawn(task=Task.IMAGE_TO_IMAGE, image=colours(*SIZE))
    assert result.getcolors() == [(64 * 48, (255, 0, 255))]


async def test_a_caller_who_keeps_pixels_itself_gets_what_was_generated() -> None:
    request = await gateway().admit(Draft(prompt="an apple", task=Task.INPAINT, image=colours(*SIZE), mask=ramp()))
    events = [event async for event in gateway().draw(request, keep=False)]
    assert events[-1].image.getcolors() == [(64 * 48, (255, 0, 255))]  # type: ignore[union-attr]


@pytest.mark.parametrize("keep", [True, False])
async def test_what_is_transparent_is_seen_on_white_beside_what_is_kept(keep: bool) -> None:
    glass = gateway(Image.new("RGBA", SIZE, (255, 0, 0, 0)))
    whole = Image.new("L", SIZE, 255)
    request = await glass.admit(Draft(prompt="an apple", task=Task.INPAINT, image=colours(*SIZE), mask=whole))
    (result,) = [event.image async for event in glass.draw(request, keep=keep) if isinstance(event, Picture)]
    assert (result.mode, result.getcolors()) == ("RGB", [(64 * 48, (255, 255, 255))])


def test_what_is_opaque_is_not_copied() -> None:
    picture = Picture(0, 7, colours(*SIZE))
    assert on_white(picture) is picture


async def test_what_was_cut_off_is_told_first() -> None:
    request = await gateway().admit(
        Draft(prompt="an apple", task=Task.IMAGE_TO_IMAGE, image=colours(200, 100), width=64, height=64)
    )
    started = [event async for event in gateway().draw(request) if isinstance(event, Started)]
    assert started[0].hint == "image was cropped to 100x100 of 200x100 pixels; fit=pad keeps all of it; read"
