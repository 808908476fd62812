"""Which predictor, and which criterion? `python -m benchmarks.step_cache.policies` prints tables of docs/step-cache.md.

All images are computed in one batch, in all of their steps; where a policy would have foreseen one, what it foresees
takes the place of what was computed. So all policies take the same time, and only their quality is compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.step_cache.drawing import CHOSEN_ON
from benchmarks.step_cache.quality import Images, likeness
from core.generation.step_cache import StepCache
from models.catalogue.catalogue import full_catalogue
from models.miniature.captions import plain_caption
from models.weights.loading import load
from runners.engine.step_cache.policy import MOST_CORRECTED, POLICIES, Policy, distances, owed

SHIPPED = POLICIES[StepCache.QUALITY]


@dataclass(frozen=True)
class Computed:
    """A step that was computed."""

    step: int
    latents: Tensor
    output: Tensor


def reuse(past: Sequence[Computed], _step: int, _latents: Tensor) -> Tensor:
    """The last output, as DeepCache and TeaCache have it."""
    return past[-1].output


def offset(past: Sequence[Computed], _step: int, latents: Tensor) -> Tensor:
    """The input and the last difference to it, as EasyCache has it."""
    return latents + past[-1].output - past[-1].latents


def linear(past: Sequence[Computed], step: int, _latents: Tensor) -> Tensor:
    """The line through the last two."""
    before, last = past[-2:]
    return torch.lerp(before.output, last.output, (step - before.step) / (last.step - before.step))


def quadratic(past: Sequence[Computed], step: int, _latents: Tensor) -> Tensor:
    """The parabola through the last three: TaylorSeer's second order."""
    weights = [
        np.prod([(step - other.step) / (each.step - other.step) for other in past if other is not each])
        for each in past
    ]
    return sum((float(weight) * each.output for weight, each in zip(weights, past, strict=True)), torch.zeros(()))


CORRECTED = "linear, corrected"
"""What ships: what the line was off is added to the next computed output."""
PREDICTORS: Mapping[str, Callable[[Sequence[Computed], int, Tensor], Tensor]] = {
    **{each.__name__: each for each in (reuse, offset, linear, quadratic)},
    CORRECTED: linear,
}


@dataclass
class Image:
    """What a policy knows of one image."""

    past: list[Computed] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    """Of the line, at each computed step, by the distances to its samples."""
    moved: float = 0.0
    """How far the latents came since the last computed step, and by it the output, relative to it (EasyCache)."""
    seen: Tensor | None = None


def input_change(image: Image, _step: int, latents: Tensor, threshold: float, _steps: int) -> bool:
    """EasyCache's (https://arxiv.org/abs/2507.02860): the output moves as far as its input did, times a factor."""
    before, last = image.past[-2:]
    rate = (last.output - before.output).norm() / (last.latents - before.latents).norm()
    assert image.seen is not None
    image.moved += float(rate * (latents - image.seen).norm() / last.output.norm())
    image.seen = latents
    return image.moved < threshold


def output_change(image: Image, step: int, _latents: Tensor, threshold: float, _steps: int) -> bool:
    """How much the output changed between the last two computed steps, a step."""
    before, last = image.past[-2:]
    rate = float((last.output - before.output).norm() / last.output.norm()) / (last.step - before.step)
    return rate * (step - last.step) < threshold


def line_error(image: Image, step: int, _latents: Tensor, threshold: float, steps: int) -> bool:
    """What ships, without its bound on how many are foreseen in a row."""
    return _trusted(replace(SHIPPED, tolerance=threshold, longest_share=1.0), image, step, steps)


def run_length(image: Image, step: int, _latents: Tensor, threshold: float, steps: int) -> bool:
    """A share of the steps, whatever they are."""
    return step - image.past[-1].step <= max(1, round(threshold * steps))


def shipped(image: Image, step: int, _latents: Tensor, threshold: float, steps: int) -> bool:
    """`runners.engine.step_cache.policy`."""
    return _trusted(replace(SHIPPED, tolerance=threshold), image, step, steps)


def _trusted(policy: Policy, image: Image, step: int, steps: int) -> bool:
    """Ask by the line's error of one computed step ago: the last one's may be on its way from the device."""
    computed = [each.step for each in image.past]
    return len(image.errors) > 1 and policy.trusts(step, steps, computed, image.errors[-2])


Criterion = Callable[[Image, int, Tensor, float, int], bool]
CRITERIA: Mapping[Criterion, float] = {
    input_change: 0.05,
    output_change: 0.05,
    line_error: 0.02,
    run_length: 0.06,
    shipped: SHIPPED.tolerance,
}
"""With thresholds that skip about as much."""


class Caching:
    """Stands in for a denoiser's `forward` and caches for each of a batch of guided images."""

    def __init__(
        self, forward: Callable[..., Any], images: int, steps: int, policy: tuple[str, Criterion, float]
    ) -> None:
        self._forward, self._steps = forward, steps
        self._predictor, self._criterion, self._threshold = PREDICTORS[policy[0]], policy[1], policy[2]
        self._corrects = policy[0] == CORRECTED
        self._images = [Image() for _ in range(images)]
        self._step = 0
        self.skipped = 0

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        latents = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        [output] = self._forward(*args, **{**kwargs, "return_dict": False})
        count = len(self._images)
        for number, image in enumerate(self._images):
            halves = slice(number, None, count)
            output[halves] = self._answer(image, latents[halves].clone(), output[halves].clone())
        self._step += 1
        return (output,)

    def _answer(self, image: Image, latents: Tensor, output: Tensor) -> Tensor:
        step, past = self._step, image.past
        allowed = SHIPPED.allows(step, self._steps) and len(past) == 3
        if allowed and self._criterion(image, step, latents, self._threshold, self._steps):
            self.skipped += 1
            return self._predictor(past, step, latents)
        image.past = [*past[-2:], Computed(step, latents, output)]
        image.moved, image.seen = 0.0, latents
        if len(past) < 2:
            return output
        computed, wrong = [each.step for each in past], output - linear(past, step, latents)
        error = float(wrong.norm() / output.norm())
        image.errors.append(error / distances(step, computed))
        made_up_for = owed(step, computed) * min(1.0, MOST_CORRECTED / error) if self._corrects else 0.0
        return output + made_up_for * wrong


class Study:
    """One miniature, and the images that its policies are compared by."""

    def __init__(self, model: str) -> None:
        entry = full_catalogue(None).get(model)
        loaded = load(entry, "cpu")
        self._pipeline = next(iter(loaded.pipelines.values()))
        self._denoiser = loaded.components[loaded.family.denoiser]
        self._arguments = {"guidance_scale": 3.0, "height": 128, "width": 128, "output_type": "np"}
        if entry.family == "stable-diffusion-3":
            self._arguments["max_sequence_length"] = 1
        self._plain: dict[int, Images] = {}

    def plain(self, steps: int) -> Images:
        if steps not in self._plain:
            self._plain[steps] = self._generated(steps)
        return self._plain[steps]

    def rows(self, steps: int, policies: Sequence[tuple[str, Criterion, float]]) -> Iterator[str]:
        for policy in policies:
            with self._caching(steps, policy) as caching:
                images = self._generated(steps)
            computed = steps - caching.skipped / len(CHOSEN_ON)
            like = likeness(images, self.plain(steps))
            control = likeness(self.plain(max(2, round(computed))), self.plain(steps))
            predictor, criterion, threshold = policy
            yield (
                f"| {steps} | {criterion.__name__} {threshold:g} | {predictor} | {1 - computed / steps:.0%} "
                f"| {like.median_db:.1f} / {like.worst_db:.1f} | {control.median_db:.1f} / {control.worst_db:.1f} |"
            )

    @contextmanager
    def _caching(self, steps: int, policy: tuple[str, Criterion, float]) -> Iterator[Caching]:
        plain = self._denoiser.forward
        caching = self._denoiser.forward = Caching(plain, len(CHOSEN_ON), steps, policy)
        try:
            yield caching
        finally:
            self._denoiser.forward = plain

    @torch.no_grad()
    def _generated(self, steps: int) -> Images:
        images: Images = self._pipeline(
            [plain_caption(*pair, 0) for pair in CHOSEN_ON],
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(500 + number) for number in range(len(CHOSEN_ON))],
            **self._arguments,
        ).images
        return images


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step_cache.policies", description=__doc__)
    parser.add_argument("--models", nargs="+", default=["miniature", "miniature-dit"])
    parser.add_argument("--steps", type=int, nargs="+", default=[50])
    arguments = parser.parse_args()
    policies = [
        (predictor, criterion, threshold) for (criterion, threshold), predictor in product(CRITERIA.items(), PREDICTORS)
    ]
    for model in arguments.models:
        study = Study(model)
        print(f"{model}\n\n| steps | criterion | predictor | skipped | PSNR, dB | with fewer steps, dB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for steps in arguments.steps:
            for row in study.rows(steps, policies):
                print(row, flush=True)


if __name__ == "__main__":
    main()
