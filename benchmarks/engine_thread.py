"""How long the engine's thread keeps a device waiting: what it does for each image and step while no pass runs.

`python -m benchmarks.engine_thread` generates with tiny checkpoints whose denoisers carry the layers of real ones as
ballast on the `meta` device. Whatever walks through them takes as long as in a real model; passes take next to no time.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel

from benchmarks.gpu.models import sdxl_unet
from core.generation.request import GenerationRequest
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from tests.support.drawing import draw_together, request
from tests.support.engines import running
from tests.support.parity import load_tiny
from tests.support.recorder import Recorder
from tests.tiny import TINY

STEPS = 10
IMAGES = 8
REPEATS = 3
DENOISERS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "stable-diffusion-xl": lambda: sdxl_unet(True, 768, 1280),
    "flux": FluxTransformer2DModel,
    "wan": WanTransformer3DModel,
}


def loaded(family: str, folder: Path) -> LoadedModel:
    """A tiny checkpoint, whose denoiser has the layers of a real one beside its own."""
    model = load_tiny(family, folder)
    with torch.device("meta"):
        ballast = DENOISERS[family]()
    model.components[model.family.denoiser].add_module("ballast", ballast)
    return model


def asked(family: str, seed: int) -> GenerationRequest:
    task = next(iter(FAMILIES[family].pipelines))
    frames = {"num_frames": TINY[family].num_frames, "fps": 16} if task.is_video else {}
    return request(task, seed=seed, num_inference_steps=STEPS, scheduler=TINY[family].scheduler, **frames)


def measured(family: str) -> tuple[float, float]:
    """Return milliseconds outside passes for each denoiser call, and their share of all time, in the best repeat."""
    with tempfile.TemporaryDirectory() as folder, running(loaded(family, Path(folder)), batch_tokens=2**20) as run:
        return min(_repeat(*run, family) for _ in range(REPEATS))


def _repeat(engine: Engine, passes: Recorder, family: str) -> tuple[float, float]:
    passes.passes.clear()
    started = time.perf_counter()
    asyncio.run(draw_together(engine, [asked(family, seed) for seed in range(IMAGES)]))
    took = time.perf_counter() - started
    outside = took - sum(each.seconds for each in passes.passes)
    return 1000 * outside / sum(passes.denoising), outside / took


if __name__ == "__main__":
    for name in sys.argv[1:] or DENOISERS:
        milliseconds, share = measured(name)
        print(
            f"{name:20} {milliseconds:6.2f} ms outside passes for each image and step, {share:4.0%} of all time",
            flush=True,
        )
