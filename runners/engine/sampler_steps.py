"""Takes equal sampler steps as one. Images that share passes are often at the same step of equal samplers, and a step
has some fifty small operations, which cost more by their number than by their size.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from types import MethodType
from typing import Any
from weakref import ref

import torch

from runners.engine.passes.signatures import tensor_digest

HISTORIES: Mapping[str, tuple[str, ...]] = {"DPMSolverMultistepScheduler": ("model_outputs",)}
"""The classes whose steps can be shared, since they work element by element, with numbers that are the same for all
samples; for each, the names of the lists in which they keep earlier outputs.
"""


@dataclass(frozen=True, eq=False)
class SamplerStep:
    """A step that an image's pipeline waits for."""

    sampler: Any
    output: torch.Tensor
    """The denoiser's output after guidance, in the sample's shape."""
    timestep: Any
    sample: torch.Tensor

    @cached_property
    def key(self) -> Hashable:
        """Equal for steps that can be taken as one."""
        sampler = self.sampler
        if sampler.step_index is None:
            # As the sampler's own `step` would do first.
            sampler._init_step_index(self.timestep)
        return (
            # Copies of one sampler share its config.
            id(sampler.config),
            tensor_digest(sampler.sigmas),
            len(sampler.timesteps),
            sampler.step_index,
            sampler.lower_order_nums,
            *(each is None for name in _histories(sampler) for each in getattr(sampler, name)),
            self.sample.shape[1:],
            *((tensor.dtype, tensor.device) for tensor in (self.output, self.sample)),
        )


def let_share(sampler: Any, park: Callable[[SamplerStep], torch.Tensor | None]) -> None:
    """Let a sampler's steps be shared, if its class supports it. `park` leaves the calling pipeline's greenlet; it
    returns the next sample, or None if the sampler must take the step by itself.
    """
    draws = sampler.config.get("algorithm_type", "").startswith("sde")
    if _class_name(sampler) in HISTORIES and not draws and not sampler.config.thresholding:
        sampler.step = _SharedStep(sampler, park)


def step_together(steps: Sequence[SamplerStep]) -> list[torch.Tensor]:
    """Take steps with equal keys; return the next samples, in order. If that fails, the samplers are unchanged."""
    samplers = [step.sampler for step in steps]
    sizes = [len(step.sample) for step in steps]
    first, together = samplers[0], copy(samplers[0])
    rows: dict[int, Sequence[Any]] = {}
    for name in _histories(first):
        entries = [tuple(each) for each in zip(*(getattr(sampler, name) for sampler in samplers), strict=True)]
        joined = [None if each[0] is None else torch.cat(each) for each in entries]
        rows |= {id(one): each for one, each in zip(joined, entries, strict=True)}
        setattr(together, name, joined)
    output, sample = torch.cat([step.output for step in steps]), torch.cat([step.sample for step in steps])
    (following,) = type(first).step(together, output, steps[0].timestep, sample, return_dict=False)
    changed = {name: value for name, value in vars(together).items() if value is not vars(first).get(name)}
    for name in _histories(first):
        # Entries that only moved within the list need not be split again.
        columns = [rows[id(one)] if id(one) in rows else one.split(sizes) for one in changed.pop(name)]
        for number, sampler in enumerate(samplers):
            setattr(sampler, name, [column[number] for column in columns])
    for sampler in samplers:
        vars(sampler).update(changed)
    return list(following.split(sizes))


class _SharedStep:
    """Replaces a sampler's `step`; deep copies of the sampler, such as those for sound, get the class's own."""

    def __init__(self, sampler: Any, park: Callable[[SamplerStep], torch.Tensor | None]) -> None:
        # A weak reference, since in a cycle the sampler's tensors would live longer.
        self._sampler = ref(sampler)
        self._park = park
        # Pipelines inspect the signature of `step`.
        self.__signature__ = signature(sampler.step)

    def __call__(self, model_output: torch.Tensor, timestep: Any, sample: torch.Tensor, **others: Any) -> Any:
        following = None
        if model_output.shape == sample.shape and not others.get("return_dict", True):
            step = SamplerStep(self._sampler(), model_output, timestep, sample)
            # Computed here, where an error ends only this image's request.
            _ = step.key
            following = self._park(step)
        return self._own(model_output, timestep, sample, **others) if following is None else (following,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        # A copy of the sampler's attributes alone, as some pipelines make, keeps using this sampler.
        copied = memo.get(id(self._sampler()))
        return self if copied is None else MethodType(type(copied).step, copied)

    @property
    def _own(self) -> Callable[..., Any]:
        sampler: Any = self._sampler()
        return MethodType(type(sampler).step, sampler)


def _histories(sampler: Any) -> tuple[str, ...]:
    return HISTORIES[_class_name(sampler)]


def _class_name(sampler: Any) -> str:
    # `views.samplers` makes subclasses of the same name.
    return type(sampler).__name__
