"""Chooses for requests that leave it to the server whether steps are predicted: only while it is behind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from runners.options import EngineLimits

KEPT = 0.98
"""Of the passes so far, at each further one: what counts is about the last 50."""


@dataclass(frozen=True)
class Load:
    """Images and clips that are asked for."""

    images: int
    pixels: int
    """Of all of their frames."""

    @classmethod
    def of(cls, requests: Iterable[GenerationRequest]) -> Load:
        sizes = [(each.num_images, each.num_images * each.pixels) for each in requests]
        return cls(sum(images for images, _ in sizes), sum(pixels for _, pixels in sizes))

    def __add__(self, other: Load) -> Load:
        return Load(self.images + other.images, self.pixels + other.pixels)


class AutomaticStepCache:
    """Belongs to the engine's thread; knows how many tokens images had lately, and how long passes took."""

    def __init__(self, limits: EngineLimits) -> None:
        self._limits = limits
        self._tokens_per_pixel = 0.0
        """Of the last call; none is known before it."""
        self._recent_s = self._recent_tokens = 0.0

    def learn_size(self, tokens: int, pixels: int) -> None:
        """Take in a call of the denoiser for one image."""
        self._tokens_per_pixel = tokens / pixels

    def learn_speed(self, seconds: float, denoised_tokens: int) -> None:
        """Take in a pass: predicted steps have none. Encoding and decoding denoise nothing, and take their time too."""
        self._recent_s = KEPT * self._recent_s + seconds
        self._recent_tokens = KEPT * self._recent_tokens + denoised_tokens

    def choose(self, calls: int, remaining_s: float, running: Load, waiting: Load) -> StepCache:
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
