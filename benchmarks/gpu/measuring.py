"""Runs requests through the engine, and summarises the results."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.setup import Setup
from core.generation.events import Clip, Event, Failed, Picture
from core.generation.request import GenerationRequest
from models.catalogue.families import CallStage
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.engine.observer import EngineObserver
from runners.engine.passes.executor import Pass

BATCH_TOKENS = 2**18
FPS = 16


class Passes(EngineObserver):
    def __init__(self) -> None:
        self.ended: list[Pass] = []

    def on_pass(self, forward: Pass) -> None:
        self.ended.append(forward)


class WaitedPasses(Passes):
    """Lets the engine go on only when the device has finished all of its work."""

    def __init__(self, setup: Setup) -> None:
        super().__init__()
        self._setup = setup

    def on_pass(self, forward: Pass) -> None:
        super().on_pass(forward)
        self._setup.synchronise()


@dataclass(frozen=True)
class Drawn:
    """Requests that were in the engine together; results are in their order, None if one failed."""

    results: Sequence[Picture | Clip | None]
    failed: Sequence[str]
    seconds: float
    passes: Sequence[Pass]

    def figures(self) -> dict[str, Any]:
        denoising = [each for each in self.passes if each.part.stage is CallStage.DENOISE]
        decoding = [each for each in self.passes if each.part.stage is CallStage.DECODE]
        largest = max((each.calls for each in denoising), default=0)
        full = [each.seconds for each in denoising if each.calls == largest]
        return {
            "requests": len(self.results),
            "seconds": self.seconds,
            "calls": largest,
            "pass_ms": 1000 * median(full) if full else None,
            "busy": sum(each.seconds for each in self.passes) / self.seconds,
            "decode_ms": 1000 * sum(each.seconds for each in decoding),
            "decode_calls": max((each.calls for each in decoding), default=0),
            "failed": [*self.failed],
        }


Draw = Callable[[Sequence[GenerationRequest]], Drawn]


@contextmanager
def drawing(
    setup: Setup, model: LoadedModel, batch_tokens: int = BATCH_TOKENS, passes: Passes | None = None
) -> Iterator[Draw]:
    """Run an engine; yield a function that generates several requests at once."""
    passes = passes or Passes()
    engine = Engine(model, EngineLimits(batch_tokens), passes)

    def draw(requests: Sequence[GenerationRequest]) -> Drawn:
        passes.ended.clear()
        started_s = time.perf_counter()
        events = asyncio.run(_events(engine, requests))
        setup.synchronise()
        seconds = time.perf_counter() - started_s
        failed = [own[-1].code for own in events if isinstance(own[-1], Failed)]
        return Drawn([_result(own) for own in events], failed, seconds, [*passes.ended])

    try:
        yield draw
    finally:
        engine.close()


async def _events(engine: Engine, requests: Sequence[GenerationRequest]) -> list[list[Event]]:
    async def one(request: GenerationRequest) -> list[Event]:
        return [event async for event in engine.submit(request).events()]

    return await asyncio.gather(*map(one, requests))


def _result(events: Sequence[Event]) -> Picture | Clip | None:
    return next((event for event in events if isinstance(event, Picture | Clip)), None)


def request(
    model: LoadedModel,
    number: int,
    *,
    steps: int,
    size_px: int | tuple[int, int],
    sampler: str | None = None,
    guidance: float = 5.0,
    **fields: Any,
) -> GenerationRequest:
    """Return one of several requests that differ in their prompts and seeds."""
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    task = next(iter(model.pipelines))
    return GenerationRequest(
        model=model.id,
        task=task,
        prompt="a picture of something " + "x" * number,
        width=width,
        height=height,
        num_inference_steps=steps,
        guidance_scale=guidance,
        seed=number,
        scheduler=sampler or next(iter(model.family.schedulers)),
        fps=FPS if task.is_video else None,
        **fields,
    )


def difference(one: Picture | Clip | None, other: Picture | Clip | None) -> NDArray[np.float64]:
    """Return the difference (height, width, 3), in steps of 1/255, of two images or of two clips' last frames."""
    return np.abs(_pixels(one) - _pixels(other))


def _pixels(result: Picture | Clip | None) -> NDArray[np.float64]:
    assert result is not None, "a request failed"
    image = result.image if isinstance(result, Picture) else result.frames[-1]
    return np.asarray(image, np.float64)
