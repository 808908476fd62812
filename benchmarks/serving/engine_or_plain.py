"""The engine or the plain pipeline, without HTTP: `python -m benchmarks.serving.engine_or_plain engine|plain`.

Writes a description of the machine, as JSON; then, for each line of its input, reads a number of images, generates that
many at once, and writes the seconds that this took.
"""

from __future__ import annotations

import asyncio
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

import torch

from benchmarks.measured_model import measured_entry
from benchmarks.peers.pipelines import Pipelines, PlainRequest
from benchmarks.weights import load_plain
from benchmarks.workloads import WorkloadRequest, uniform
from core.generation.events import Picture
from core.generation.request import GenerationRequest
from models.weights.devices import resolve_device
from runners.engine.engine import Engine, EngineLimits
from settings import settings

Draw = Callable[[Sequence[WorkloadRequest]], None]


def plain() -> Draw:
    pipelines = Pipelines.load()

    def draw(wanted: Sequence[WorkloadRequest]) -> None:
        fields = [
            {"task": each.task, "prompt": each.prompt, "num_inference_steps": each.steps, "seed": each.seed}
            for each in wanted
        ]
        pipelines.draw([PlainRequest.model_validate(each) for each in fields])

    return draw


def engine() -> Draw:
    entry = measured_entry()
    defaults, running = entry.defaults, Engine(load_plain(entry), EngineLimits(entry.batch_tokens))

    async def one(wanted: WorkloadRequest) -> None:
        request = GenerationRequest(
            model=entry.id,
            task=wanted.task,
            prompt=wanted.prompt,
            width=defaults.width,
            height=defaults.height,
            num_inference_steps=wanted.steps,
            guidance_scale=defaults.guidance_scale,
            seed=wanted.seed,
            scheduler=defaults.scheduler,
        )
        events = [event async for event in running.submit(request).events()]
        assert isinstance(events[-1], Picture), events[-1]

    async def all_at_once(wanted: Sequence[WorkloadRequest]) -> None:
        await asyncio.gather(*map(one, wanted))

    return lambda wanted: asyncio.run(all_at_once(wanted))


SIDES: Mapping[str, Callable[[], Draw]] = {"plain": plain, "engine": engine}


def main(side: str) -> None:
    draw, requests = SIDES[side](), uniform(seed=7)
    print(json.dumps(_machine()), flush=True)
    for line in sys.stdin:
        # New prompts each time, since the engine caches their encodings.
        wanted = [replace(each, prompt=f"{each.seed}, {each.prompt}") for each in islice(requests, int(line))]
        started_s = time.perf_counter()
        draw(wanted)
        print(time.perf_counter() - started_s, flush=True)


def _machine() -> dict[str, Any]:
    device = resolve_device(settings().first_device)
    return {
        "title": f"{torch.get_num_threads()} CPU cores" if device == "cpu" else torch.cuda.get_device_name(),
        "device": device,
        "processor": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


if __name__ == "__main__":
    main(sys.argv[1])
