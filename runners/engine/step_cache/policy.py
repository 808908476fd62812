"""When a step may be predicted. Knows nothing of torch.

A denoiser's outputs are taken for samples of a smooth function of the step, which goes on along the line through the
last two. Such a line is off by half the function's curvature times the distances from both samples. How far off it was
at computed steps is known, and from that, how far it may be followed next: the step size of multistep solvers of
differential equations is chosen like this (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, III.5).
By the same rule a computed step shows how far off the predicted ones before it were, which is then corrected.
`docs/step-cache.md` compares it with what EasyCache and TeaCache do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from core.generation.step_cache import StepCache

MAX_CORRECTED_ERROR = 0.1
"""The largest error, relative to the output, that is corrected in full: larger ones come from no smooth curve."""


@dataclass(frozen=True)
class Policy:
    """How far to trust what is predicted."""

    tolerance: float
    """The largest error, relative to the output (both as L2 norms)."""
    longest_share: float
    """Of the steps: as many are predicted in a row at most, and one at least."""
    first_share: float = 0.15
    """Of the steps; they decide what the image shows, and are always computed."""
    last_share: float = 0.05
    """Of the steps; they finish its details, and are always computed."""

    def allows(self, step: int, steps: int) -> bool:
        """Whether step `step` of `steps`, from 0, may be predicted at all."""
        return ceil(self.first_share * steps) <= step < steps - max(1, ceil(self.last_share * steps))

    def trusts(self, step: int, steps: int, computed: Sequence[int], curvature: float) -> bool:
        """Whether the line through the outputs of the last two `computed` steps may be followed up to `step`."""
        if step - computed[-1] > max(1, round(self.longest_share * steps)):
            return False
        return curvature * distances(step, computed) < self.tolerance


def distances(step: int, computed: Sequence[int]) -> int:
    """Return what the error of the line through the last two `computed` steps grows with."""
    before, last = computed[-2:]
    return (step - last) * (step - before)


def missing_error(step: int, computed: Sequence[int]) -> float:
    """Return the error of all predicted steps before `step`, as a multiple of the line's error at `step`."""
    predicted = range(computed[-1] + 1, step)
    return sum(distances(each, computed) for each in predicted) / distances(step, computed)


POLICIES: Mapping[StepCache, Policy] = {
    StepCache.QUALITY: Policy(tolerance=0.08, longest_share=0.06),
    StepCache.FAST: Policy(tolerance=0.2, longest_share=0.08),
}
