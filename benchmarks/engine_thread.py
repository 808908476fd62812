"""How long the engine's thread keeps a device waiting: what it does for each image and step while no pass runs, and
how much more of it the decisions of a step cache are.

`python -m benchmarks.engine_thread` generates with tiny checkpoints whose denoisers carry the layers of real ones as
ballast on the `meta` device. Whatever walks through them takes as long as in a real model; passes take next to no time.
With a cache, each step is measured and none is predicted, so that both generate the same. What that costs is the
difference of the thread's own processor time, which other processes disturb less than the clock on the wall.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel

from benchmarks.gpu.models import sdxl_unet
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from runners.engine.step_cache.policy import POLICIES, Policy
from tests.support.drawing import draw_together, request
from tests.support.engines import running
from tests.support.parity import load_tiny
from tests.support.recorder import Recorder
from tests.tiny import TINY

STEPS = 10
IMAGES = 8
REPEATS = 5
NEVER = Policy(tolerance=0.0, longest_share=1.0, first_share=0.0, last_share=0.0)
"""Looks at every step, and predicts none."""
DENOISERS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "stable-diffusion-xl": lambda: sdxl_unet(True, 768, 1280),
    "flux": FluxTransformer2DModel,
    "wan": WanTransformer3DModel,
}


@dataclass(frozen=True, order=True)
class Taken:
    """The thread's time; milliseconds are for each call of the denoiser for one image."""

    outside_ms: float
    """In which no pass ran."""
    outside_share: float
    """Of all time."""
    processor_ms: float
    """Of its own, passes included."""


def loaded(family: str, folder: Path) -> LoadedModel:
    """A tiny checkpoint, whose denoiser has the layers of a real one beside its own."""
    model = load_tiny(family, folder)
    with torch.device("meta"):
        ballast = DENOISERS[family]()
    model.components[model.family.denoiser].add_module("ballast", ballast)
    return model


def asked(family: str, seed: int, step_cache: StepCache) -> GenerationRequest:
    task = next(iter(FAMILIES[family].pipelines))
    frames = {"num_frames": TINY[family].num_frames, "fps": 16} if task.is_video else {}
    scheduler = TINY[family].scheduler
    return request(task, seed=seed, num_inference_steps=STEPS, scheduler=scheduler, step_cache=step_cache, **frames)


def measured(family: str) -> tuple[Taken, float]:
    """Return the best repeat without a step cache, and the milliseconds more that the thread works with one."""
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(POLICIES, {StepCache.QUALITY: NEVER}),
        running(loaded(family, Path(folder)), batch_tokens=2**20) as run,
    ):
        # In turns, so that whatever else the machine does slows both.
        repeats = [[_repeat(*run, family, each) for each in (StepCache.OFF, StepCache.QUALITY)] for _ in range(REPEATS)]
    plain, cached = zip(*repeats, strict=True)
    least = [min(each.processor_ms for each in both) for both in (plain, cached)]
    return min(plain), least[1] - least[0]


def _repeat(engine: Engine, passes: Recorder, family: str, step_cache: StepCache) -> Taken:
    passes.passes.clear()
    [thread] = (each for each in threading.enumerate() if each.name.startswith("engine-"))
    assert thread.ident is not None
    processor = time.pthread_getcpuclockid(thread.ident)
    started, worked = time.perf_counter(), time.clock_gettime(processor)
    asyncio.run(draw_together(engine, [asked(family, seed, step_cache) for seed in range(IMAGES)]))
    took, worked = time.perf_counter() - started, time.clock_gettime(processor) - worked
    outside, calls = took - sum(each.seconds for each in passes.passes), sum(passes.denoising)
    return Taken(1000 * outside / calls, outside / took, 1000 * worked / calls)


if __name__ == "__main__":
    for name in sys.argv[1:] or DENOISERS:
        plain, more_ms = measured(name)
        print(
            f"{name:20} {plain.outside_ms:6.2f} ms outside passes for each image and step, {plain.outside_share:4.0%} "
            f"of all time; {more_ms:+.3f} ms with a step cache",
            flush=True,
        )
