"""When a step may be predicted. Knows nothing of torch.

A denoiser's outputs are treated as samples of a smooth function of the step, and extrapolated along the line through
the last two. The error of that is half the function's curvature times the distances from both samples. The error at
computed steps is known, and tells how far the line may be followed next; multistep solvers of differential equations
choose their step size this way (Hairer, Norsett, Wanner, Solving Ordinary Differential Equations I, III.5). By the
same rule, a computed step shows the errors of the predicted ones before it, which are then corrected.
`docs/step-cache.md` compares this with EasyCache and TeaCache.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

from core.generation.step_cache import StepCache

MAX_CORRECTED_ERROR = 0.1
"""The largest error, relative to the output, that is fully corrected: larger ones mean the curve is not smooth."""


@dataclass(frozen=True)
class Policy:
    """How far to trust predictions."""

    tolerance: float
    """The largest error, relative to the output (both as L2 norms)."""
    longest_share: float
    """The share of the steps that may be predicted in a row, though always at least one step."""
    first_share: float = 0.15
    """The share of steps at the start, which decide what the image shows, that are always computed."""
    last_share: float = 0.05
    """The share of steps at the end, which finish its details, that are always computed."""

    def allows(self, step: int, steps: int) -> bool:
        """Whether step `step` of `steps`, from 0, may be predicted at all."""
        return ceil(self.first_share * steps) <= step < steps - max(1, ceil(self.last_share * steps))

    def trusts(self, step: int, steps: int, computed: Sequence[int], curvature: float) -> bool:
        """Whether the line through the outputs of the last two `computed` steps may be followed up to `step`."""
        if step - computed[-1] > max(1, round(self.longest_share * steps)):
            return False
        return curvature * distances(step, computed) < self.tolerance


def distances(step: int, computed: Sequence[int]) -> int:
    """Return what the error at `step` of the line through the last two `computed` steps is proportional to."""
    before, last = computed[-2:]
    return (step - last) * (step - before)


def missing_error(step: int, computed: Sequence[int]) -> float:
    """Return the summed error of the predicted steps before `step`, as a multiple of the line's error at `step`."""
    predicted = range(computed[-1] + 1, step)
    return sum(distances(each, computed) for each in predicted) / distances(step, computed)


POLICIES: Mapping[StepCache, Policy] = {
    StepCache.QUALITY: Policy(tolerance=0.08, longest_share=0.06),
    StepCache.FAST: Policy(tolerance=0.2, longest_share=0.08),
}
