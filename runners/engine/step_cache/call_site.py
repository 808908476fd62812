"""One of the denoiser's calls in each step of an image: its last outputs, and predictions from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils import _pytree as pytree

from runners.engine.device_copies import DeviceCopy
from runners.engine.step_cache.policy import MAX_CORRECTED_ERROR, Policy, distances, missing_error


@dataclass(frozen=True)
class _Measured:
    """How far off the extrapolation was at a computed step."""

    error: DeviceCopy
    distances: int

    @property
    def curvature(self) -> float:
        """The extrapolation error over `distances`; waits for the device unless the error has arrived."""
        error: float = self.error.read().item()
        return error / self.distances


class CallSite:
    """Keeps the last two outputs. It never waits for work of the device more recent than two computed steps ago."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._computed: list[tuple[int, list[Any]]] = []
        """The last two steps that were computed, with the leaves of their outputs."""
        self._form: pytree.TreeSpec | None = None
        """The structure of an output around its leaves."""
        self._measured: _Measured | None = None
        """The error at the last computed step but one, since that of the last one may not have arrived."""
        self._newest: _Measured | None = None

    def trusts(self, step: int, steps: int) -> bool:
        """Whether the prediction for step `step` of `steps`, from 0, is good enough."""
        if self._measured is None:
            return False
        return self._policy.trusts(step, steps, self._steps, self._measured.curvature)

    def predicted(self, step: int) -> Any:
        """Return the output extrapolated linearly from the last two computed steps."""
        assert self._form is not None
        return pytree.tree_unflatten(self._line(step), self._form)

    def corrected(self, step: int, output: Any) -> Any:
        """Record the output of a computed step; return it corrected for the errors of the predicted steps before it.

        The curvature, which is now known, tells how far off the extrapolation was at each of those steps. Samplers sum
        the outputs of all steps, so the missing part can be added here.
        """
        answer = output
        leaves, self._form = pytree.tree_flatten(output)
        if len(self._computed) == 2:
            line = self._line(step)
            error = _relative_error(line, leaves)
            self._measured, self._newest = self._newest, _Measured(DeviceCopy(error), distances(step, self._steps))
            if share := missing_error(step, self._steps):
                # Clamped on the device, to avoid waiting for it.
                weight = 1 + share * torch.where(error > MAX_CORRECTED_ERROR, MAX_CORRECTED_ERROR / error, 1.0)
                answer = pytree.tree_unflatten(_along(line, leaves, weight), self._form)
            # Before the next is kept, so that there are never three.
            del self._computed[0]
        # Cloned, since a view would keep the outputs of the whole pass.
        kept = [torch.clone(leaf) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
        self._computed.append((step, kept))
        return answer

    @property
    def _steps(self) -> list[int]:
        return [number for number, _ in self._computed]

    def _line(self, step: int) -> list[Any]:
        (before, earlier), (last, latest) = self._computed
        return _along(earlier, latest, 1 + (step - last) / (last - before))


def _along(old: Sequence[Any], new: Sequence[Any], weight: float | torch.Tensor) -> list[Any]:
    """Go along the lines through two outputs' leaves: `weight` is 0 at the old, 1 at the new, and more beyond it. Of
    leaves that are not floating-point, return the new ones.
    """
    return [_lerp(one, other, weight) if _floats(other) else other for one, other in zip(old, new, strict=True)]


def _lerp(old: torch.Tensor, new: torch.Tensor, weight: float | torch.Tensor) -> torch.Tensor:
    return torch.lerp(old, new, weight.to(new.dtype) if isinstance(weight, torch.Tensor) else weight)


def _relative_error(predicted: Sequence[Any], output: Sequence[Any]) -> torch.Tensor:
    """Return the relative error as a scalar on the device."""
    pairs = [(one, other) for one, other in zip(predicted, output, strict=True) if _floats(other)]
    return _norm([one - other for one, other in pairs]) / _norm([other for _, other in pairs])


def _norm(tensors: Sequence[torch.Tensor]) -> torch.Tensor:
    norms = [torch.linalg.vector_norm(each, dtype=torch.float32) for each in tensors]
    whole: torch.Tensor = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    return whole


def _floats(leaf: Any) -> bool:
    return isinstance(leaf, torch.Tensor) and leaf.is_floating_point()
