"""Files of OpenAI's images: in order, and of upscaled images one after the other."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
from PIL import Image

from api.openai.answers import made_of
from core.generation.events import Event, Picture, Started

IMAGES = 3


class DrawnBackwards:
    """Yields images, the last first, and counts those that were asked for."""

    def __init__(self, upscales: bool) -> None:
        self.upscales = upscales
        self.asked = 0

    async def events(self) -> AsyncGenerator[Event, None]:
        yield Started(0.0)
        for index in reversed(range(IMAGES)):
            self.asked += 1
            yield Picture(index, seed=index, image=Image.new("RGB", (1, 1)))


@pytest.mark.parametrize(("upscales", "asked"), [(True, [1, 2, 3]), (False, [3, 3, 3])])
async def test_the_next_upscaled_image_waits_for_the_file_of_the_one_before(upscales: bool, asked: list[int]) -> None:
    generation: Any = DrawnBackwards(upscales)
    seen: list[int] = []

    def make(result: Any) -> int:
        seen.append(generation.asked)
        return int(result.seed)

    assert await made_of(generation, make) == [0, 1, 2]
    assert seen == asked
