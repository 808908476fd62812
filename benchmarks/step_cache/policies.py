"""Which predictor, and which criterion? `python -m benchmarks.step_cache.policies` prints tables of docs/step-cache.md.

All images are computed in one batch, with all of their steps; where a policy predicts a step, the prediction replaces
the computed output. So all policies take the same time, and only their quality is compared.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from typing import Any

import torch
from torch import Tensor

from benchmarks.step_cache.candidates import CORRECTED, CRITERIA, PREDICTORS, SHIPPED, Computed, Criterion, ImageHistory
from benchmarks.step_cache.engine_runs import CHOSEN_ON
from benchmarks.step_cache.quality import Images, likeness
from models.catalogue.catalogue import full_catalogue
from models.miniature.captions import plain_caption
from models.weights.loading import load
from runners.engine.step_cache.call_site import CallSite


class Caching:
    """Replaces a denoiser's `forward`, with a cache for each of a batch of guided images."""

    def __init__(
        self, forward: Callable[..., Any], images: int, steps: int, predictor: str, criterion: Criterion
    ) -> None:
        self._forward, self._steps, self._criterion = forward, steps, criterion
        self._predict, self._corrects = PREDICTORS[predictor], predictor == CORRECTED
        self._images = [ImageHistory(CallSite(criterion.policy)) for _ in range(images)]
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

    def _answer(self, image: ImageHistory, latents: Tensor, output: Tensor) -> Tensor:
        step, criterion = self._step, self._criterion
        allowed = SHIPPED.allows(step, self._steps) and len(image.past) == 3
        if allowed and criterion.trusts(image, step, latents, criterion.threshold, self._steps):
            self.skipped += 1
            return self._predict(image, step, latents)
        image.past = [*image.past[-2:], Computed(step, latents, output)]
        image.moved, image.seen = 0.0, latents
        corrected: Tensor = image.site.corrected(step, output)
        return corrected if self._corrects else output


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

    def row(self, steps: int, criterion: str, predictor: str) -> str:
        with self._caching(steps, predictor, CRITERIA[criterion]) as caching:
            images = self._generated(steps)
        computed = steps - caching.skipped / len(CHOSEN_ON)
        like = likeness(images, self.plain(steps))
        control = likeness(self.plain(max(2, round(computed))), self.plain(steps))
        return (
            f"| {steps} | {criterion}, {CRITERIA[criterion].threshold:g} | {predictor} | {1 - computed / steps:.0%} "
            f"| {like.median_db:.1f} / {like.worst_db:.1f} | {control.median_db:.1f} / {control.worst_db:.1f} |"
        )

    @contextmanager
    def _caching(self, steps: int, predictor: str, criterion: Criterion) -> Iterator[Caching]:
        plain = self._denoiser.forward
        caching = self._denoiser.forward = Caching(plain, len(CHOSEN_ON), steps, predictor, criterion)
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
    parser.add_argument("--criteria", nargs="+", choices=CRITERIA, default=[*CRITERIA], metavar="CRITERION")
    parser.add_argument("--predictors", nargs="+", choices=PREDICTORS, default=[*PREDICTORS], metavar="PREDICTOR")
    arguments = parser.parse_args()
    for model in arguments.models:
        study = Study(model)
        print(f"{model}\n\n| steps | criterion | predictor | skipped | PSNR, dB | with fewer steps, dB |")
        print("| --- | --- | --- | --- | --- | --- |")
        for policy in product(arguments.steps, arguments.criteria, arguments.predictors):
            print(study.row(*policy), flush=True)


if __name__ == "__main__":
    main()
