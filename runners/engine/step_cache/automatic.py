"""Chooses for requests that leave it to the server whether steps are predicted: only while it is behind."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import IN_ONE_CALL, Family, Unguided
from runners.options import EngineLimits

KEPT = 0.98
"""Of the passes so far, at each further one: what counts is about the last 50."""
KNOWN_SIZES = 256
"""Sizes whose tokens are remembered: those that were denoised last."""


@dataclass(frozen=True)
class Workload:
    """Images and clips that are asked for."""

    images: int
    tokens: float
    """Of each sample that a call of the denoiser has of them."""

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
    """Return how many samples each call of the denoiser has of one image, on average over its steps."""
    if family.unguided not in IN_ONE_CALL:
        return 1.0
    perturbed = family.perturbed_calls * (_halves(request, family) - 1.0)
    return (_halves(request, family) + perturbed) / (1.0 + perturbed)


def denoiser_calls(request: GenerationRequest, family: Family) -> float:
    """Return how many calls of the denoiser an image has in all of its steps."""
    calls = _halves(request, family) if family.unguided is Unguided.SECOND_CALL else 1.0
    perturbed = family.perturbed_calls * (_halves(request, family) - 1.0)
    return request.denoising_steps * (calls + perturbed)


def _halves(request: GenerationRequest, family: Family) -> float:
    """Return 2 for a guided image, of which the share of unguided steps at its end has one."""
    return 1.0 + request.guidance_end if request.guidance_scale > family.guided_above else 1.0


def _size(request: GenerationRequest) -> tuple[int, int, int, int]:
    """Return the width, height and frames of the largest pass, and the layers in it; 1 of a request without any."""
    (width, height), _ = max(request.passes, key=lambda each: each[0][0] * each[0][1])
    return width, height, request.num_frames, request.num_images // request.runs


class AutomaticStepCache:
    """Belongs to the engine's thread; knows how many tokens images had lately, and how long passes took."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._sample_tokens: OrderedDict[tuple[int, int, int, int], float] = OrderedDict()
        """By size, since denoisers pad some sizes and not others."""
        self._tokens_per_pixel = 0.0
        """Of a sample of the last call, for sizes that none had yet; 0 before the first."""
        self._recent_s = self._recent_tokens = 0.0

    def learn_size(self, request: GenerationRequest, tokens: float) -> None:
        """Take in how many tokens a sample of a call had; calls without an unguided half have fewer samples."""
        size = _size(request)
        self._sample_tokens[size] = tokens
        self._sample_tokens.move_to_end(size)
        if len(self._sample_tokens) > KNOWN_SIZES:
            self._sample_tokens.popitem(last=False)
        self._tokens_per_pixel = tokens / request.pixels

    def sample_tokens(self, request: GenerationRequest) -> float:
        """Return how many tokens a sample of the request's calls has: as its size had last, or by its pixels."""
        return self._sample_tokens.get(_size(request), request.pixels * self._tokens_per_pixel)

    def learn_speed(self, seconds: float, denoised_tokens: int) -> None:
        """Take in a pass: predicted steps have none. Encoding and decoding denoise nothing, and take their time too."""
        self._recent_s = KEPT * self._recent_s + seconds
        self._recent_tokens = KEPT * self._recent_tokens + denoised_tokens

    def choose(self, calls: float, remaining_s: float, running: Workload, waiting: Workload) -> StepCache:
        """Return what a request gets that starts now, with so much time until its deadline.

        `calls` are those of the denoiser for each of its images, which are among the `running`.
        """
        if calls * self._round_s(running) > remaining_s:
            return StepCache.FAST
        return StepCache.QUALITY if self._exceeds_a_pass(running + waiting) else StepCache.OFF

    def _round_s(self, running: Workload) -> float:
        """Return how long it takes until each image has had a call; 0 before anything is known."""
        if not self._recent_tokens:
            return 0.0
        return running.tokens * self._recent_s / self._recent_tokens

    def _exceeds_a_pass(self, load: Workload) -> bool:
        return load.images > self._limits.max_running or load.tokens > self._limits.batch_tokens
