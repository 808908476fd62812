"""Endless sequences of requests, the same in every run and for every server."""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import permutations

import numpy as np
from PIL import Image

from core.generation.request import Task

CONCEPTS = ("apple", "banana", "carrot", "pizza", "cactus", "tulip", "cat", "fox", "whale", "rocket", "key")
COLOURS = ("red", "blue", "green", "yellow", "purple")
PROMPTS = [
    f"a {one} {concept} on a {other} background" for concept in CONCEPTS for one, other in permutations(COLOURS, 2)
]

MOST_CALLERS = 16
UNIFORM_STEPS = 20
SHORT_STEPS = 4
LONG_STEPS = 50
MIXED_STEPS = (4, 8, 12, 20, 30, 50)
MIXED_TASKS = (Task.TEXT_TO_IMAGE, Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT)
"""Half of the mixed requests are text-to-image; 24 requests contain each combination of these with the steps once."""


@dataclass(frozen=True)
class WorkloadRequest:
    """One request in the form that all servers accept; everything else uses the catalogue's defaults."""

    task: Task
    steps: int
    prompt: str
    seed: int
    others: Mapping[str, str | int] = field(default_factory=dict, hash=False)
    """Fields that only Jubako is sent."""

    @property
    def path(self) -> str:
        return f"/{self.task.replace('-', '_')}"

    @property
    def fields(self) -> dict[str, str | int]:
        return {"prompt": self.prompt, "num_inference_steps": self.steps, "seed": self.seed, **self.others}


RequestKind = tuple[Task, int]


def uniform(steps: int = UNIFORM_STEPS, seed: int = 1) -> Iterator[WorkloadRequest]:
    """Text-to-image requests that differ in prompt and seed only."""
    return _requests(itertools.repeat((Task.TEXT_TO_IMAGE, steps)), seed)


def mixed(seed: int = 2) -> Iterator[WorkloadRequest]:
    """Three tasks of 4 to 50 steps; every 24 requests hold the same mix in another order."""
    return _requests(_shuffled([(t, s) for t in MIXED_TASKS for s in MIXED_STEPS], seed), seed)


def each_task(rounds: int) -> Iterator[WorkloadRequest]:
    """Short requests of every measured task, to warm up a server."""
    return _requests(iter([(task, SHORT_STEPS) for task in dict.fromkeys(MIXED_TASKS)] * rounds), seed=3)


def crowd(requests: int) -> Iterator[WorkloadRequest]:
    """Short requests of one task, which can share a call, to warm up a server for crowds."""
    return itertools.islice(uniform(SHORT_STEPS, seed=4), requests)


def _shuffled(kinds: Sequence[RequestKind], seed: int) -> Iterator[RequestKind]:
    order = random.Random(seed)
    while True:
        yield from order.sample(kinds, len(kinds))


def _requests(kinds: Iterator[RequestKind], seed: int) -> Iterator[WorkloadRequest]:
    prompts = itertools.cycle(random.Random(seed).sample(PROMPTS, len(PROMPTS)))
    for number, ((task, steps), prompt) in enumerate(zip(kinds, prompts, strict=False)):
        yield WorkloadRequest(task, steps, prompt, seed=1000 * seed + number)


@cache
def photo_png(width: int, height: int) -> bytes:
    """A smooth image as the input of a request."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, 1 - x], axis=-1) * 255
    return _png(Image.fromarray(pixels.astype(np.uint8)))


@cache
def mask_png(width: int, height: int) -> bytes:
    """A mask that repaints the middle quarter."""
    mask = Image.new("L", (width, height), 0)
    mask.paste(255, (width // 4, height // 4, 3 * width // 4, 3 * height // 4))
    return _png(mask)


def _png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, format="PNG")
    return file.getvalue()
