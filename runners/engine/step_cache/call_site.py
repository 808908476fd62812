"""One of the denoiser's calls in each step of an image: what it returned last, and what is predicted from it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from runners.engine.leaving import Leaving
from runners.engine.signatures import tensors_in
from runners.engine.step_cache.policy import MAX_CORRECTED_ERROR, Policy, distances, missing_error


class CallSite:
    """Keeps the last two outputs. Nothing here waits for the device but for what it did two computed steps ago."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._computed: list[tuple[int, Any]] = []
        """The last two steps that were computed, with their outputs."""
        self._curvature: Leaving | None = None
        """As of the last computed step but one: that of the last one may be on its way."""
        self._newest: Leaving | None = None

    def trusts(self, step: int, steps: int) -> bool:
        """Whether the prediction for step `step` of `steps`, from 0, is good enough."""
        if self._curvature is None:
            return False
        computed = [number for number, _ in self._computed]
        return self._policy.trusts(step, steps, computed, self._curvature.read().item())

    def predicted(self, step: int) -> Any:
        """Return what the call would answer, had its outputs gone on as between the last two computed steps."""
        (before, earlier), (last, latest) = self._computed
        ahead = (step - last) / (last - before)
        return pytree.tree_map(lambda old, new: _lerp(old, new, 1 + ahead), earlier, latest)

    def corrected(self, step: int, output: Any) -> Any:
        """Take in the output of a computed step; return it with what was missing in the predicted steps before it.

        Now that the curvature is known, so is how far the line was off at each of them. Samplers add up the outputs of
        all steps, so what was missing there may as well be added here.
        """
        answer = output
        if len(self._computed) == 2:
            predicted = self.predicted(step)
            error = _relative_error(predicted, output)
            computed = [number for number, _ in self._computed]
            self._curvature, self._newest = self._newest, Leaving(error / distances(step, computed))
            if share := missing_error(step, computed):
                # Limited on the device, which nothing here waits for.
                weight = 1 + share * torch.where(error > MAX_CORRECTED_ERROR, MAX_CORRECTED_ERROR / error, 1.0)
                answer = pytree.tree_map(lambda line, new: _lerp(line, new, weight), predicted, output)
            # Before the next is kept, so that there are never three.
            del self._computed[0]
        # Cloned, since a view would keep the outputs of the whole pass.
        self._computed.append((step, pytree.tree_map_only(torch.Tensor, torch.clone, output)))
        return answer


def _lerp(old: Any, new: Any, weight: float | torch.Tensor) -> Any:
    """Go along the line from one leaf of an output to another; what is no floating tensor is the new one."""
    if not isinstance(new, torch.Tensor) or not new.is_floating_point():
        return new
    return torch.lerp(old, new, weight.to(new.dtype) if isinstance(weight, torch.Tensor) else weight)


def _relative_error(predicted: Any, output: Any) -> torch.Tensor:
    """Return a scalar on the device."""
    pairs = [
        (one, other)
        for one, other in zip(tensors_in(predicted), tensors_in(output), strict=True)
        if other.is_floating_point()
    ]
    wrong = torch.stack([torch.linalg.vector_norm(one - other, dtype=torch.float32) for one, other in pairs])
    whole = torch.stack([torch.linalg.vector_norm(other, dtype=torch.float32) for _, other in pairs])
    error: torch.Tensor = torch.linalg.vector_norm(wrong) / torch.linalg.vector_norm(whole)
    return error
