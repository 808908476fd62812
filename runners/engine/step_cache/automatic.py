"""Chooses whether steps are predicted, for requests that leave it to the server: only while the server is behind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import IN_ONE_CALL, Family, Unguided
from runners.options import EngineLimits

KEPT = 0.98
"""The weight that earlier passes keep with each new one, so that about the last 50 count."""
KNOWN_SIZES = 256
"""The most sizes whose tokens are remembered, the most recent ones."""


@dataclass(frozen=True)
class Workload:
    """The work of a number of images and clips."""

    images: int
    tokens: float
    """The tokens of all of their samples in a denoiser call."""

    @classmethod
    def of(
        cls, requests: Iterable[GenerationRequest], family: Family, sample_tokens: Callable[[GenerationRequest], float]
    ) -> Workload:
        images, tokens = 0, 0.0
        for each in requests:
            images += each.num_images
            tokens += each.runs * sample_tokens(each) * samples_in_call(each, family)
        return cls(images, tokens)

    def __add__(self, other: Workload) -> Workload:
        return Workload(self.images + other.images, self.tokens + other.tokens)


def samples_in_call(request: GenerationRequest, family: Family) -> float:
    """Return the samples of one image in a denoiser call, on average over its calls."""
    if family.unguided not in IN_ONE_CALL:
        return 1.0
    perturbed = family.perturbed_calls * (_halves(request, family) - 1.0)
    return (_halves(request, family) + perturbed) / (1.0 + perturbed)


def denoiser_calls(request: GenerationRequest, family: Family) -> float:
    """Return the number of an image's denoiser calls in all of its steps."""
    calls = _halves(request, family) if family.unguided is Unguided.SECOND_CALL else 1.0
    perturbed = family.perturbed_calls * (_halves(request, family) - 1.0)
    return request.denoising_steps * (calls + perturbed)


def _halves(request: GenerationRequest, family: Family) -> float:
    """Return the average number of halves of a step: 2 with guidance, 1 without, as in steps after `guidance_end`."""
    return 1.0 + request.guidance_end if request.guidance_scale > family.guided_above else 1.0


def _size(request: GenerationRequest) -> tuple[int, int, int, int]:
    """Return the width, height and frames of the largest pass, and its layers, or 1 without layers."""
    (width, height), _ = max(request.passes, key=lambda each: each[0][0] * each[0][1])
    return width, height, request.num_frames, request.num_images // request.runs


class AutomaticStepCache:
    """Belongs to the engine's thread; keeps track of the tokens of recent images, and the duration of passes."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._sample_tokens: OrderedDict[tuple[int, int, int, int], float] = OrderedDict()
        """By size rather than per pixel, since denoisers pad some sizes and not others."""
        self._tokens_per_pixel = 0.0
        """Tokens per pixel in the last call, for sizes not seen before; 0 before the first call."""
        self._recent_s = self._recent_tokens = 0.0

    def learn_size(self, request: GenerationRequest, tokens: float) -> None:
        """Record the tokens of a sample, which unlike those of a call do not depend on guidance."""
        size = _size(request)
        self._sample_tokens[size] = tokens
        self._sample_tokens.move_to_end(size)
        if len(self._sample_tokens) > KNOWN_SIZES:
            self._sample_tokens.popitem(last=False)
        self._tokens_per_pixel = tokens / request.pixels

    def sample_tokens(self, request: GenerationRequest) -> float:
        """Return the tokens of a sample of a request: as last seen for its size, or estimated from its pixels."""
        return self._sample_tokens.get(_size(request), request.pixels * self._tokens_per_pixel)

    def learn_speed(self, seconds: float, denoised_tokens: int) -> None:
        """Record a pass; one that encodes or decodes takes time, but has no `denoised_tokens`."""
        self._recent_s = KEPT * self._recent_s + seconds
        self._recent_tokens = KEPT * self._recent_tokens + denoised_tokens

    def choose(self, calls: float, remaining_s: float, running: Workload, waiting: Workload) -> StepCache:
        """Return the mode for a request that starts now and has `remaining_s` until its deadline.

        `calls` is the number of denoiser calls for each of its images, which count among the `running` ones.
        """
        if calls * self._round_s(running) > remaining_s:
            return StepCache.FAST
        return StepCache.QUALITY if self._exceeds_a_pass(running + waiting) else StepCache.OFF

    def _round_s(self, running: Workload) -> float:
        """Return the seconds in which each image gets one call; 0 before anything is known."""
        if not self._recent_tokens:
            return 0.0
        return running.tokens * self._recent_s / self._recent_tokens

    def _exceeds_a_pass(self, load: Workload) -> bool:
        return load.images > self._limits.max_running or load.tokens > self._limits.batch_tokens
