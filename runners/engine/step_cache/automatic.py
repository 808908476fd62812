"""Chooses for requests that leave it to the server whether steps are predicted: only while it is behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import IN_ONE_CALL, Family, Unguided
from runners.options import EngineLimits

KEPT = 0.98
"""Of the passes so far, at each further one: what counts is about the last 50."""


@dataclass(frozen=True)
class Load:
    """Images and clips that are asked for."""

    images: int
    pixels: float
    """Of all of their frames, and of each sample that a call of the denoiser has of them."""

    @classmethod
    def of(cls, requests: Iterable[GenerationRequest], family: Family) -> Load:
        sizes = [(each.num_images, each.pixels * samples_in_call(each, family)) for each in requests]
        return cls(sum(images for images, _ in sizes), sum(images * pixels for images, pixels in sizes))

    def __add__(self, other: Load) -> Load:
        return Load(self.images + other.images, self.pixels + other.pixels)


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


class AutomaticStepCache:
    """Belongs to the engine's thread; knows how many tokens images had lately, and how long passes took."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._tokens_per_pixel = 0.0
        """Of a sample, as the last call had it; none is known before it."""
        self._recent_s = self._recent_tokens = 0.0

    def learn_size(self, tokens: float, pixels: int) -> None:
        """Take in how many tokens a sample of an image had; calls without an unguided half have fewer samples."""
        self._tokens_per_pixel = tokens / pixels

    def learn_speed(self, seconds: float, denoised_tokens: int) -> None:
        """Take in a pass: predicted steps have none. Encoding and decoding denoise nothing, and take their time too."""
        self._recent_s = KEPT * self._recent_s + seconds
        self._recent_tokens = KEPT * self._recent_tokens + denoised_tokens

    def choose(self, calls: float, remaining_s: float, running: Load, waiting: Load) -> StepCache:
        """Return what a request gets that starts now, with so much time until its deadline.

        `calls` are those of the denoiser for each of its images, which are among the `running`.
        """
        if calls * self._round_s(running) > remaining_s:
            return StepCache.FAST
        return StepCache.QUALITY if self._exceeds_a_pass(running + waiting) else StepCache.OFF

    def _round_s(self, running: Load) -> float:
        """Return how long it takes until each image has had a call; 0 before anything is known."""
        if not self._recent_tokens:
            return 0.0
        return running.pixels * self._tokens_per_pixel * self._recent_s / self._recent_tokens

    def _exceeds_a_pass(self, load: Load) -> bool:
        tokens = load.pixels * self._tokens_per_pixel
        return load.images > self._limits.max_running or tokens > self._limits.batch_tokens
