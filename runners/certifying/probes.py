"""Small test requests that differ in every way that requests can, and their results."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import aclosing, contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from core.generation.draft import Draft
from core.generation.events import Clip, Failed, Picture
from core.generation.request import GenerationRequest, Task
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from models.catalogue.families import Part
from models.catalogue.resolving.resolve import ServerLimits, resolve
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.trial_requests import task_inputs

PROMPTS = ("a red apple on a blue table", "a blue table on a red apple", "two foxes in the snow, at night, by a river")
"""Two of equal length, whose encodings can be merged even if the pipeline does not pad them, and a longer one."""
STEPS = 3
ROOM = 10**9
"""Tokens of a pass: enough for all of the small probes to share it."""
SERVER = ServerLimits(max_prompt_chars=100, max_num_images=1, max_deadline_s=float("inf"))
PixelArray = np.ndarray[Any, np.dtype[np.uint8]]


def probes(entry: Entry, steps: int = STEPS) -> list[GenerationRequest]:
    """Return three requests of each task: of the smallest size, with few steps."""
    return [_probe(entry, task, number, steps) for task in entry.tasks for number in range(len(PROMPTS))]


def _probe(entry: Entry, task: Task, number: int, steps: int) -> GenerationRequest:
    settings = entry.tasks[task]
    limits, defaults = settings.limits, settings.defaults
    side = limits.smallest_px
    lowest, highest = limits.guidance_scale
    frames = min(1 + entry.family_spec.frames_multiple, limits.max_frames)
    draft = Draft(
        prompt=PROMPTS[number],
        width=side,
        height=side,
        # One request is a step ahead of the others, so that passes mix timesteps.
        num_inference_steps=max(limits.min_steps, min(steps - (number == 1), limits.max_steps)),
        num_frames=frames if task.is_video else None,
        guidance_scale=min(max(defaults.guidance_scale * (1 + number / 4), lowest), highest),
        seed=number,
        **task_inputs(entry, task, _picture(side, number), _mask(side), frames),
    )
    return resolve(draft, Catalogue([entry]), SERVER)


def _picture(side: int, number: int) -> Image.Image:
    shades = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return Image.fromarray(shades).resize((side, side))


def _mask(side: int) -> Image.Image:
    mask = Image.new("L", (side, side))
    mask.paste(255, (0, 0, side // 2, side))
    return mask


async def one_by_one(model: LoadedModel, requests: Sequence[GenerationRequest]) -> list[PixelArray]:
    """Generate the requests one after the other with unmodified pipelines. Raises JubakoError."""
    with _running(model, ()) as engine:
        return [await _generated(engine, request) for request in requests]


async def at_once(model: LoadedModel, parts: Sequence[Part], requests: Sequence[GenerationRequest]) -> list[PixelArray]:
    """Generate all requests at once, switching between them at the calls of these parts. Raises JubakoError."""
    with _running(model, parts) as engine:
        return await asyncio.gather(*(_generated(engine, request) for request in requests))


@contextmanager
def _running(model: LoadedModel, parts: Sequence[Part]) -> Iterator[Engine]:
    engine = Engine(replace(with_parts(model, parts), compiled=None), EngineLimits(batch_tokens=ROOM))
    try:
        yield engine
    finally:
        engine.close()


def with_parts(model: LoadedModel, parts: Sequence[Part]) -> LoadedModel:
    """Return the model with these parts for the engine to batch."""
    return replace(model, family=replace(model.family, parts=tuple(parts)))


async def _generated(engine: Engine, request: GenerationRequest) -> PixelArray:
    """Return the result as bytes, (F, H, W, 3)."""
    async with aclosing(engine.submit(request).events()) as events:
        async for event in events:
            if isinstance(event, Failed):
                raise event.error
            if isinstance(event, Picture | Clip):
                images = (event.image,) if isinstance(event, Picture) else event.frames
                return np.stack([np.asarray(image.convert("RGB")) for image in images])
    raise AssertionError("a request ends with its result, or with a failure")
