"""Adaptive batching as in BentoML's documentation: a service with one parameter per input composes the batch input
and passes it to a service whose API is `batchable`.

Start it with `bentoml serve benchmarks.peers.bento:Composer`.
"""

# BentoML's decorators are typed for its own checker only.
# mypy: disallow-untyped-decorators=False

# No `from __future__ import annotations`: BentoML reads the annotations of the APIs.

from typing import Any

import aiohttp
import bentoml
from PIL import Image

from benchmarks.peers.pipelines import MAX_BATCH_SIZE, Pipelines, PlainRequest, PngImage
from core.generation.request import Task

TIMEOUT_S = 600
MAX_LATENCY_MS = TIMEOUT_S * 1000
"""BentoML drops requests that it expects to take longer."""


@bentoml.service(workers=1, traffic={"timeout": TIMEOUT_S, "concurrency": 64})
class Painter:
    def __init__(self) -> None:
        self.pipelines = Pipelines.load()

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS)
    def draw(self, wanted: list[PlainRequest]) -> list[PngImage]:
        return self.pipelines.draw(wanted)


@bentoml.service(traffic={"timeout": TIMEOUT_S})
class Composer:
    painter = bentoml.depends(Painter)

    @bentoml.api
    async def text_to_image(self, prompt: str, num_inference_steps: int, seed: int) -> Image.Image:
        return await self._draw(prompt=prompt, num_inference_steps=num_inference_steps, seed=seed)

    @bentoml.api
    async def image_to_image(self, prompt: str, num_inference_steps: int, seed: int, image: Image.Image) -> Image.Image:
        return await self._draw(
            task=Task.IMAGE_TO_IMAGE,
            prompt=prompt,
            num_inference_steps=num_inference_steps,
            seed=seed,
            image=image.convert("RGB"),
        )

    @bentoml.api
    async def inpaint(
        self, prompt: str, num_inference_steps: int, seed: int, image: Image.Image, mask: Image.Image
    ) -> Image.Image:
        return await self._draw(
            task=Task.INPAINT,
            prompt=prompt,
            num_inference_steps=num_inference_steps,
            seed=seed,
            image=image.convert("RGB"),
            mask=mask.convert("L"),
        )

    async def _draw(self, **fields: Any) -> Image.Image:
        wanted = [PlainRequest(**fields)]
        try:
            pictures: list[Image.Image] = await self.painter.to_async.draw(wanted)
        except aiohttp.ServerDisconnectedError:
            # A worker closes connections that are idle for 5 s, and BentoML's proxy may be about to use one.
            pictures = await self.painter.to_async.draw(wanted)
        return pictures[0]
