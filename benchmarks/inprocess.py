"""The engine without HTTP: a request's overhead over the plain pipeline, and how busy the denoiser is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import torch

from benchmarks.subject import load_plain
from benchmarks.workloads import UNIFORM_STEPS, uniform
from core.events import Picture
from core.request import GenerationRequest, Task
from models.catalogue.entry import Entry
from models.catalogue.families import Stage
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.engine.executor import Pass
from runners.engine.observer import EngineObserver
from runners.engine.pipeline_run import pipeline_arguments

IN_FLIGHT = 16
PICTURES_PER_CALLER = 2


@dataclass(frozen=True)
class Overhead:
    """Medians over alternating repeats of one 20-step request; `ratio` is the median of the pairs' ratios."""

    plain_s: float
    engine_s: float
    ratio: float


@dataclass(frozen=True)
class Efficiency:
    """Images per second. `raw` calls modules back to back at the engine's batch size."""

    batch: int
    raw_denoising: float
    engine_denoising: float
    raw_whole: float
    engine_whole: float

    @property
    def denoising(self) -> float:
        return self.engine_denoising / self.raw_denoising

    @property
    def whole(self) -> float:
        return self.engine_whole / self.raw_whole


class PassRecorder(EngineObserver):
    def __init__(self) -> None:
        self.passes: list[Pass] = []

    def on_pass(self, forward: Pass) -> None:
        self.passes.append(forward)

    @property
    def other_s(self) -> float:
        """Seconds in encoders and decoders."""
        return sum(each.seconds for each in self.passes if each.part.stage is not Stage.DENOISE)

    @property
    def largest_batch(self) -> int:
        return max(each.calls for each in self.passes if each.part.stage is Stage.DENOISE)


class Bench:
    """One loaded model, run by the plain pipeline, by an engine, and by its bare modules."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.model: LoadedModel = load_plain(entry)
        self.recorder = PassRecorder()
        self.engine = Engine(self.model, EngineLimits(entry.batch_tokens), self.recorder)
        self._requests = uniform(seed=7)

    def next_request(self) -> GenerationRequest:
        """A request with a new prompt, since the engine caches the encodings of prompts."""
        wanted, defaults = next(self._requests), self.entry.defaults
        return GenerationRequest(
            model=self.entry.id,
            task=wanted.task,
            prompt=f"{wanted.seed}, {wanted.prompt}",
            width=defaults.width,
            height=defaults.height,
            num_inference_steps=wanted.steps,
            guidance_scale=defaults.guidance_scale,
            seed=wanted.seed,
            scheduler=defaults.scheduler,
        )

    def draw_plain(self, request: GenerationRequest) -> None:
        self.model.pipelines[request.task](**pipeline_arguments(self.model.family, request, 0))

    async def draw(self, request: GenerationRequest) -> None:
        events = [event async for event in self.engine.submit(request).events()]
        assert isinstance(events[-1], Picture), events[-1]


async def measure_overhead(bench: Bench, pairs: int) -> Overhead:
    """Run the same requests with the plain pipeline and the idle engine, alternating."""
    plain_s, engine_s = [], []
    for _ in range(pairs + 1):
        request = bench.next_request()
        plain_s.append(_timed(partial(bench.draw_plain, request)))
        started_s = time.perf_counter()
        await bench.draw(request)
        engine_s.append(time.perf_counter() - started_s)
    # The first pair warms up.
    ratios = [engine / plain for plain, engine in zip(plain_s[1:], engine_s[1:], strict=True)]
    return Overhead(median(plain_s[1:]), median(engine_s[1:]), median(ratios))


async def measure_efficiency(bench: Bench, rounds: int) -> Efficiency:
    """Saturate the engine and loop over the bare modules, alternating."""
    calls = await _record_denoiser_call(bench)
    raw = RawLoop(bench, *calls)
    denoising: list[float] = []
    whole: list[float] = []
    raw_denoising_s: list[float] = []
    raw_whole_s: list[float] = []
    for _ in range(rounds):
        raw_denoising_s.append(_timed(raw.denoise))
        raw_whole_s.append(_timed(raw.draw))
        bench.recorder.passes.clear()
        wall_s, pictures = await _saturate(bench)
        whole.append(pictures / wall_s)
        denoising.append(pictures / (wall_s - bench.recorder.other_s))
    return Efficiency(
        batch=raw.batch,
        raw_denoising=raw.batch / median(raw_denoising_s),
        engine_denoising=median(denoising),
        raw_whole=raw.batch / median(raw_whole_s),
        engine_whole=median(whole),
    )


class RawLoop:
    """A batch run without pipelines or samplers; `arguments` are those of one denoiser call."""

    def __init__(self, bench: Bench, batch: int, arguments: dict[str, Any]) -> None:
        self.batch = batch
        self._bench = bench
        self._arguments = arguments
        self._components = bench.model.components
        self._guided = bench.entry.defaults.guidance_scale > 1

    @torch.no_grad()
    def denoise(self) -> None:
        for _ in range(UNIFORM_STEPS):
            self._components["unet"](**self._arguments)

    @torch.no_grad()
    def draw(self) -> None:
        prompts = [self._bench.next_request().prompt for _ in range(self.batch)]
        pipeline: Any = self._bench.model.pipelines[Task.TEXT_TO_IMAGE]
        pipeline.encode_prompt(prompts, self._bench.model.device, 1, self._guided)
        self.denoise()
        vae = self._components["vae"]
        vae.decode(self._arguments["sample"][: self.batch].to(vae.dtype), return_dict=False)


async def _record_denoiser_call(bench: Bench) -> tuple[int, dict[str, Any]]:
    """Run once with many requests in flight; return the largest batch, in images, and its call's arguments."""
    largest: dict[str, Any] = {}

    def keep(_module: Any, _args: Any, arguments: dict[str, Any]) -> None:
        if not largest or arguments["sample"].shape[0] > largest["sample"].shape[0]:
            largest.update(arguments)

    hook = bench.model.components["unet"].register_forward_pre_hook(keep, with_kwargs=True)
    bench.recorder.passes.clear()
    await asyncio.gather(*(bench.draw(bench.next_request()) for _ in range(IN_FLIGHT)))
    hook.remove()
    return bench.recorder.largest_batch, largest


async def _saturate(bench: Bench) -> tuple[float, int]:
    """Keep requests in flight; return the seconds it took and the number of images."""

    async def call() -> None:
        for _ in range(PICTURES_PER_CALLER):
            await bench.draw(bench.next_request())

    started_s = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(IN_FLIGHT)))
    return time.perf_counter() - started_s, IN_FLIGHT * PICTURES_PER_CALLER


def _timed(work: Callable[[], None]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s
