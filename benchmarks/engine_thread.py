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
from diffusers import FluxTransformer2DModel, UNet2DConditionModel, WanTransformer3DModel

from core.request import GenerationRequest
from models.catalogue.families import FAMILIES, Stage
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.engine.executor import Pass
from runners.engine.observer import EngineObserver
from tests.support.drawing import request
from tests.support.parity import load_tiny
from tests.tiny import TINY

STEPS = 10
IMAGES = 8
REPEATS = 3
SDXL = {
    "block_out_channels": (320, 640, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 2048,
    "attention_head_dim": [5, 10, 20],
    "transformer_layers_per_block": [1, 2, 10],
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "use_linear_projection": True,
}
DENOISERS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "stable-diffusion-xl": lambda: UNet2DConditionModel(**SDXL),
    "flux": FluxTransformer2DModel,
    "wan": WanTransformer3DModel,
}


class Passes(EngineObserver):
    def __init__(self) -> None:
        self.seconds = 0.0
        self.denoised = 0

    def on_pass(self, forward: Pass) -> None:
        self.seconds += forward.seconds
        if forward.part.stage is Stage.DENOISE:
            self.denoised += forward.calls


def loaded(family: str, folder: Path) -> LoadedModel:
    """A tiny checkpoint, whose denoiser has the layers of a real one beside its own."""
    model = load_tiny(family, folder)
    with torch.device("meta"):
        ballast = DENOISERS[family]()
    model.components[model.family.denoiser].add_module("ballast", ballast)
    return model


async def generated(engine: Engine, family: str) -> None:
    async def one(seed: int) -> None:
        async for _ in engine.submit(_request(family, seed)).events():
            pass

    await asyncio.gather(*map(one, range(IMAGES)))


def _request(family: str, seed: int) -> GenerationRequest:
    task = next(iter(FAMILIES[family].pipelines))
    frames = {"num_frames": TINY[family].num_frames, "fps": 16} if task.is_video else {}
    return request(task, seed=seed, num_inference_steps=STEPS, scheduler=TINY[family].scheduler, **frames)


def measured(family: str) -> tuple[float, float]:
    """Return milliseconds outside passes for each denoiser call, and their share of all time, in the best repeat."""
    with tempfile.TemporaryDirectory() as folder:
        model, passes = loaded(family, Path(folder)), Passes()
        engine = Engine(model, EngineLimits(batch_tokens=2**20), passes)
        try:
            return min(_repeat(engine, family, passes) for _ in range(REPEATS))
        finally:
            engine.close()


def _repeat(engine: Engine, family: str, passes: Passes) -> tuple[float, float]:
    passes.seconds, passes.denoised = 0.0, 0
    started = time.perf_counter()
    asyncio.run(generated(engine, family))
    took = time.perf_counter() - started
    outside = took - passes.seconds
    return 1000 * outside / passes.denoised, outside / took


if __name__ == "__main__":
    for name in sys.argv[1:] or DENOISERS:
        milliseconds, share = measured(name)
        print(
            f"{name:20} {milliseconds:6.2f} ms outside passes for each image and step, {share:4.0%} of all time",
            flush=True,
        )
