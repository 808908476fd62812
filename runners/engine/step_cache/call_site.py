"""One of the denoiser's calls in each step of an image: what it answered last, and what follows from it."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils import _pytree as pytree

from runners.engine.leaving import Leaving
from runners.engine.signatures import tensors_in
from runners.engine.step_cache.policy import Policy


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
        """Whether `foreseen` of step `step` of `steps`, from 0, is good enough."""
        if self._curvature is None:
            return False
        computed = [number for number, _ in self._computed]
        return self._policy.trusts(step, steps, computed, self._curvature.read().item())

    def foreseen(self, step: int) -> Any:
        """Return what the call would answer, had its outputs gone on as between the last two computed steps."""
        (before, earlier), (last, latest) = self._computed
        ahead = (step - last) / (last - before)
        return pytree.tree_map(lambda old, new: _line(old, new, ahead), earlier, latest)

    def learn(self, step: int, output: Any) -> None:
        """Take in the answer to a computed step."""
        if len(self._computed) == 2:
            (before, _), (last, _) = self._computed
            error = _relative_error(self.foreseen(step), output) / ((step - last) * (step - before))
            self._curvature, self._newest = self._newest, Leaving(error)
        # Cloned, since a view would keep the outputs of the whole pass.
        kept = pytree.tree_map_only(torch.Tensor, torch.clone, output)
        self._computed = [*self._computed[-1:], (step, kept)]


def _line(old: Any, new: Any, ahead: float) -> Any:
    """Extrapolate a leaf of an output; what is no floating tensor stays as it is."""
    return torch.lerp(old, new, 1 + ahead) if isinstance(new, torch.Tensor) and new.is_floating_point() else new


def _relative_error(foreseen: Any, output: Any) -> torch.Tensor:
    """Return a scalar on the device."""
    pairs = [
        (one, other)
        for one, other in zip(tensors_in(foreseen), tensors_in(output), strict=True)
        if other.is_floating_point()
    ]
    wrong = torch.stack([torch.linalg.vector_norm(one - other, dtype=torch.float32) for one, other in pairs])
    whole = torch.stack([torch.linalg.vector_norm(other, dtype=torch.float32) for _, other in pairs])
    error: torch.Tensor = torch.linalg.vector_norm(wrong) / torch.linalg.vector_norm(whole)
    return error
