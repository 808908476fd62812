"""How long the engine's thread keeps a device waiting: its work for each image and step while no pass runs, and what
the decisions of a step cache add to it.

`python -m benchmarks.engine_thread` generates with tiny checkpoints whose denoisers carry the layers of real ones as
ballast on the `meta` device. Walking through these takes as long as in a real model, while passes take next to no
time. With a cache, each step is measured and none is predicted. Its decisions are timed separately, in processor
time: the difference between two whole runs would be smaller than the noise from other processes.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import torch
from diffusers import FluxTransformer2DModel, WanTransformer3DModel

from benchmarks.gpu.models import sdxl_unet
from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import POLICIES, Policy
from tests.support.engine.drawing import draw_together, photo, request
from tests.support.engine.engines import running
from tests.support.engine.parity import load_conditioned
from tests.support.engine.recorder import Recorder
from tests.tiny import TINY

STEPS = 10
IMAGES = 8
REPEATS = 5
NEVER = Policy(tolerance=0.0, longest_share=1.0, first_share=0.0, last_share=0.0)
"""A policy that measures every step, and predicts none."""
DENOISERS: Mapping[str, Callable[[], torch.nn.Module]] = {
    "stable-diffusion-xl": lambda: sdxl_unet(True, 768, 1280),
    "flux": FluxTransformer2DModel,
    "wan": WanTransformer3DModel,
}


class Case(NamedTuple):
    family: str
    referenced: bool = False
    """Whether images are generated after a reference, by an IP-Adapter."""


CASES: Mapping[str, Case] = {
    **{family: Case(family) for family in DENOISERS},
    "stable-diffusion-xl, IP-Adapter": Case("stable-diffusion-xl", referenced=True),
}


def add_ballast(model: LoadedModel, family: str) -> None:
    """Give a tiny checkpoint's denoiser a real one's layers in addition to its own."""
    with torch.device("meta"):
        ballast = DENOISERS[family]()
    model.components[model.family.denoiser].add_module("ballast", ballast)


def asked(case: Case, seed: int, step_cache: StepCache) -> GenerationRequest:
    tiny, task = TINY[case.family], next(iter(FAMILIES[case.family].pipelines))
    others: dict[str, Any] = {"num_frames": tiny.num_frames, "fps": 16} if task.is_video else {}
    if case.referenced:
        others |= {"reference_image": photo(seed=6, size_px=96)}
    steps = {"num_inference_steps": STEPS, "scheduler": tiny.scheduler, "step_cache": step_cache}
    return request(task, seed=seed, **steps, **others)


def measured(case: Case) -> tuple[float, float, float]:
    """Return, from the best repeat without a step cache, the milliseconds outside passes for each denoiser call, and
    their share of all time; and from the best repeat with one, the milliseconds that it adds to each call.
    """
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.dict(POLICIES, {StepCache.QUALITY: NEVER}),
        running(model := load_conditioned(case.family, Path(folder)), batch_tokens=2**20) as (engine, passes),
    ):
        # An IP-Adapter is loaded with the first request, by the layers that the denoiser has then.
        _draw(engine, passes, case, StepCache.OFF)
        add_ballast(model, case.family)
        plain = min(_repeat(engine, passes, case) for _ in range(REPEATS))
        return *plain, min(_decisions_ms(engine, passes, case) for _ in range(REPEATS))


def _repeat(engine: Engine, passes: Recorder, case: Case) -> tuple[float, float]:
    started = time.perf_counter()
    calls = _draw(engine, passes, case, StepCache.OFF)
    took = time.perf_counter() - started
    outside = took - sum(each.seconds for each in passes.passes)
    return 1000 * outside / calls, outside / took


def _decisions_ms(engine: Engine, passes: Recorder, case: Case) -> float:
    with _timed_decisions() as spent_s:
        calls = _draw(engine, passes, case, StepCache.QUALITY)
    return 1000 * sum(spent_s) / calls


def _draw(engine: Engine, passes: Recorder, case: Case, step_cache: StepCache) -> int:
    """Generate all images; return the number of their denoiser calls."""
    passes.passes.clear()
    asyncio.run(draw_together(engine, [asked(case, seed, step_cache) for seed in range(IMAGES)]))
    return sum(passes.denoising)


@contextmanager
def _timed_decisions() -> Iterator[list[float]]:
    """Yield a list that collects the duration of each call of a call site's methods, in seconds of processor time."""
    spent_s: list[float] = []

    def timed(method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any) -> Any:
            started = time.thread_time()
            answer = method(*args)
            spent_s.append(time.thread_time() - started)
            return answer

        return call

    trusts, corrected = timed(CallSite.trusts), timed(CallSite.corrected)
    with patch.object(CallSite, "trusts", trusts), patch.object(CallSite, "corrected", corrected):
        yield spent_s


if __name__ == "__main__":
    for name in sys.argv[1:] or CASES:
        outside_ms, share, decisions_ms = measured(CASES[name])
        print(
            f"{name:32} {outside_ms:6.2f} ms outside passes for each image and step, {share:4.0%} of all time; "
            f"a step cache adds {decisions_ms:.3f} ms",
            flush=True,
        )
