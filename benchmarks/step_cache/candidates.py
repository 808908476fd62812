"""Candidate predictors of a step, and candidate criteria for predicting it; the shipped ones are called, not copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from core.generation.step_cache import StepCache
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import POLICIES, Policy

SHIPPED = POLICIES[StepCache.QUALITY]


@dataclass(frozen=True)
class Computed:
    """A computed step."""

    step: int
    latents: Tensor
    output: Tensor


@dataclass
class ImageHistory:
    """What a policy knows about one image."""

    site: CallSite
    """The shipped call site: linear extrapolation, its error, and the correction."""
    past: list[Computed] = field(default_factory=list)
    """The last three computed steps."""
    moved: float = 0.0
    """EasyCache's estimate of the output's relative change since the last computed step, from the latents' change."""
    seen: Tensor | None = None


Predictor = Callable[[ImageHistory, int, Tensor], Tensor]
"""Takes a step, and the latents at it."""


def reuse(image: ImageHistory, _step: int, _latents: Tensor) -> Tensor:
    """Return the last output, like DeepCache and TeaCache."""
    return image.past[-1].output


def offset(image: ImageHistory, _step: int, latents: Tensor) -> Tensor:
    """Return the input plus the last difference to it, like EasyCache."""
    return latents + image.past[-1].output - image.past[-1].latents


def linear(image: ImageHistory, step: int, _latents: Tensor) -> Tensor:
    """Return the linear extrapolation of the last two outputs."""
    predicted: Tensor = image.site.predicted(step)
    return predicted


def quadratic(image: ImageHistory, step: int, _latents: Tensor) -> Tensor:
    """Return the quadratic extrapolation of the last three outputs: TaylorSeer's second order."""
    past = image.past
    weights = [
        np.prod([(step - other.step) / (each.step - other.step) for other in past if other is not each])
        for each in past
    ]
    return sum((float(weight) * each.output for weight, each in zip(weights, past, strict=True)), torch.zeros(()))


CORRECTED = "linear, corrected"
"""The shipped predictor: the error of the extrapolation is added to the next computed output."""
PREDICTORS: Mapping[str, Predictor] = {
    **{each.__name__: each for each in (reuse, offset, linear, quadratic)},
    CORRECTED: linear,
}


def _input_change(image: ImageHistory, _step: int, latents: Tensor, threshold: float, _steps: int) -> bool:
    """EasyCache's criterion (https://arxiv.org/abs/2507.02860): the output changes in proportion to its input."""
    before, last = image.past[-2:]
    rate = (last.output - before.output).norm() / (last.latents - before.latents).norm()
    assert image.seen is not None
    image.moved += float(rate * (latents - image.seen).norm() / last.output.norm())
    image.seen = latents
    return image.moved < threshold


def _output_change(image: ImageHistory, step: int, _latents: Tensor, threshold: float, _steps: int) -> bool:
    """By the output's change per step between the last two computed steps."""
    before, last = image.past[-2:]
    rate = float((last.output - before.output).norm() / last.output.norm()) / (last.step - before.step)
    return rate * (step - last.step) < threshold


def _run_length(image: ImageHistory, step: int, _latents: Tensor, threshold: float, steps: int) -> bool:
    """By a fixed share of the steps."""
    return step - image.past[-1].step <= max(1, round(threshold * steps))


def _as_shipped(image: ImageHistory, step: int, _latents: Tensor, _threshold: float, steps: int) -> bool:
    """By the shipped policy of the call site."""
    return image.site.trusts(step, steps)


@dataclass(frozen=True)
class Criterion:
    """A rule for whether a step is predicted."""

    threshold: float
    trusts: Callable[[ImageHistory, int, Tensor, float, int], bool]
    policy: Policy = SHIPPED


LINE_ERROR = 0.02
CRITERIA: Mapping[str, Criterion] = {
    "input change": Criterion(0.05, _input_change),
    "output change": Criterion(0.05, _output_change),
    # Without the limit on how many are predicted in a row.
    "error of the line": Criterion(LINE_ERROR, _as_shipped, replace(SHIPPED, tolerance=LINE_ERROR, longest_share=1.0)),
    "steps in a row": Criterion(0.06, _run_length),
    "as shipped": Criterion(SHIPPED.tolerance, _as_shipped),
}
"""They skip 30 to 60 %; each is judged by its gain over the plain model with the same number of computed steps."""
