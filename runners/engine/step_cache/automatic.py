"""Chooses for requests that leave it to the server whether steps are foreseen: only while it is behind."""

from __future__ import annotations

from core.generation.step_cache import StepCache

RECENT = 0.2
"""Weight of the last request in the mean time of a step."""


class AutomaticStepCache:
    """Belongs to the engine's thread; knows how long steps took lately."""

    def __init__(self) -> None:
        self._step_s: float | None = None

    def learn(self, steps: int, ran_s: float) -> None:
        """Take in a request that has ended, and how long it ran."""
        step_s = ran_s / steps
        self._step_s = step_s if self._step_s is None else (1 - RECENT) * self._step_s + RECENT * step_s

    def choose(self, steps: int, remaining_s: float, *, is_behind: bool) -> StepCache:
        """Return what a request gets that starts now, with so much time until its deadline.

        `is_behind` says that more is asked for than one pass holds.
        """
        if self._step_s is not None and steps * self._step_s > remaining_s:
            return StepCache.FAST
        return StepCache.QUALITY if is_behind else StepCache.OFF
