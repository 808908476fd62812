"""Adaptive batching as in BentoML's documentation: a service with one parameter per input composes the batch input
and passes it to a service whose API is `batchable`.

Start it with `bentoml serve benchmarks.batchable_service:Composer`.
"""

# BentoML's decorators are typed for its own checker only.
# mypy: disallow-untyped-decorators=False

# No `from __future__ import annotations`: BentoML reads the annotations of the APIs.

from collections.abc import Sequence
from typing import Annotated, Any

import bentoml
import torch
from PIL import Image
from pydantic import BaseModel, ConfigDict, WithJsonSchema

from benchmarks.subject import load_plain, measured_entry
from core.request import Task

TIMEOUT_S = 600
MAX_LATENCY_MS = TIMEOUT_S * 1000
"""BentoML drops requests that it expects to take longer."""
MAX_BATCH_SIZE = 8

Picture = Annotated[Image.Image, WithJsonSchema({"type": "string", "format": "binary"})]


class Wanted(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    task: Task
    prompt: str
    num_inference_steps: int
    seed: int
    image: Picture | None = None
    mask: Picture | None = None

    @property
    def group(self) -> tuple[Any, ...]:
        """What all members of one pipeline call must have in common."""
        return self.task, self.num_inference_steps, self.image and self.image.size


@bentoml.service(workers=1, traffic={"timeout": TIMEOUT_S, "concurrency": 64})
class Painter:
    def __init__(self) -> None:
        self.entry = measured_entry()
        self.pipelines = load_plain(self.entry).pipelines

    @bentoml.api(batchable=True, max_batch_size=MAX_BATCH_SIZE, max_latency_ms=MAX_LATENCY_MS)
    def draw(self, wanted: list[Wanted]) -> list[Picture]:
        pictures: dict[int, Image.Image] = {}
        for group in dict.fromkeys(each.group for each in wanted):
            places = [place for place, each in enumerate(wanted) if each.group == group]
            pictures |= zip(places, self._draw_group([wanted[place] for place in places]), strict=True)
        return [pictures[place] for place in range(len(wanted))]

    def _draw_group(self, wanted: Sequence[Wanted]) -> list[Image.Image]:
        defaults, first = self.entry.defaults, wanted[0]
        arguments: dict[str, Any] = {
            "prompt": [each.prompt for each in wanted],
            "num_inference_steps": first.num_inference_steps,
            "guidance_scale": defaults.guidance_scale,
            "generator": [torch.Generator("cpu").manual_seed(each.seed) for each in wanted],
        }
        if first.task is not Task.IMAGE_TO_IMAGE:
            width, height = first.image.size if first.image else (defaults.width, defaults.height)
            arguments |= {"width": width, "height": height}
        if first.task is not Task.TEXT_TO_IMAGE:
            arguments |= {"image": [each.image for each in wanted], "strength": defaults.strength}
        if first.task is Task.INPAINT:
            arguments["mask_image"] = [each.mask for each in wanted]
        images: list[Image.Image] = self.pipelines[first.task](**arguments).images
        return images


@bentoml.service(traffic={"timeout": TIMEOUT_S})
class Composer:
    painter = bentoml.depends(Painter)

    @bentoml.api
    async def text_to_image(self, prompt: str, num_inference_steps: int, seed: int) -> Image.Image:
        return await self._draw(Task.TEXT_TO_IMAGE, prompt, num_inference_steps, seed)

    @bentoml.api
    async def image_to_image(self, prompt: str, num_inference_steps: int, seed: int, image: Image.Image) -> Image.Image:
        return await self._draw(Task.IMAGE_TO_IMAGE, prompt, num_inference_steps, seed, image=image.convert("RGB"))

    @bentoml.api
    async def inpaint(
        self, prompt: str, num_inference_steps: int, seed: int, image: Image.Image, mask: Image.Image
    ) -> Image.Image:
        return await self._draw(
            Task.INPAINT,
            prompt,
            num_inference_steps,
            seed,
            image=image.convert("RGB"),
            mask=mask.convert("L"),
        )

    async def _draw(
        self, task: Task, prompt: str, num_inference_steps: int, seed: int, **images: Image.Image
    ) -> Image.Image:
        wanted = Wanted(task=task, prompt=prompt, num_inference_steps=num_inference_steps, seed=seed, **images)
        pictures: list[Image.Image] = await self.painter.to_async.draw([wanted])
        return pictures[0]
