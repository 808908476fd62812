"""The denoiser's calls of one image, step by step: which of them are computed, and what answers the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import update_wrapper
from math import ceil
from typing import Any

from torch.utils import _pytree as pytree

from core.generation.request import GenerationRequest
from core.generation.step_cache import StepCache
from models.catalogue.families import Family, Part, Stage, Unguided
from runners.engine.passes.merging import repeated, samples_of
from runners.engine.passes.module_calls import ModuleCall
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import POLICIES


@dataclass(frozen=True)
class CallPosition:
    """Where in a step a call of the denoiser stands; those of one position go on from one another."""

    component: str
    number: int
    """0 is the component's first call in the step; Qwen-Image and Wan have a second one, without the prompt, and with
    samplers of second order there are twice as many.
    """
    guided: bool
    """Whether the step has an unguided half."""


@dataclass(eq=False)
class _Step:
    """A step that has begun."""

    guided: bool
    skipped: bool
    """Whether all of its calls so far were predicted, or are going to be."""
    calls: Counter[str] = field(default_factory=Counter)
    """By component."""
    positions: set[CallPosition] = field(default_factory=set)
    conditional: Any = None
    """The answer to its last call with the prompt; of one call for both halves, what is with the prompt."""


class _CountedStep:
    """A sampler's `step` that is counted; a copy of the sampler, such as pipelines make for sound, has a plain one."""

    def __init__(self, plain: Callable[..., Any], count: Callable[[], None]) -> None:
        self._plain = plain
        self._count = count
        # Pipelines look at the parameters of samplers.
        update_wrapper(self, plain)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        return self._plain(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self._plain, memo)


class DenoisingSteps:
    """Follows one image through its steps; each ends with its sampler's."""

    def __init__(
        self,
        request: GenerationRequest,
        step_cache: StepCache,
        family: Family,
        park: Callable[[ModuleCall], Any],
    ) -> None:
        """`park` returns a call's output."""
        self._policy = POLICIES.get(step_cache)
        self._guidance_end = request.guidance_end if family.unguided else 1.0
        self._unguided = family.unguided
        self._perturbs = family.perturbed_calls > 0
        self._park = park
        self._sites: dict[CallPosition, CallSite] = {}
        """Of the last step's calls."""
        self._number = 0
        """Of the step that goes on, or comes next."""
        self._sampler_calls = 0
        self._step: _Step | None = None
        self._last: _Step | None = None
        self._view: Any = None
        self.skipped = 0
        """Steps that were predicted instead of computed."""

    @property
    def skipped_last(self) -> bool:
        """Whether the last step that has ended was predicted."""
        return self._last is not None and self._last.skipped

    def follow(self, view: Any) -> None:
        """Count the steps of a pipeline's sampler; must come before any `answer`, and be followed by `close`."""
        self._view = view
        view.scheduler.step = _CountedStep(view.scheduler.step, self._count_sampler)

    def close(self) -> None:
        """Drop all outputs, and the view, whose sampler refers to this object: in a cycle tensors would live longer."""
        self._sites.clear()
        self._step = self._last = self._view = None

    def answer(self, part: Part, make_call: Callable[[], ModuleCall]) -> Any:
        """Return the output of the denoiser, or of a ControlNet before it; calls that are not computed are not made."""
        step = self._begun_step()
        if part.stage is Stage.CONTROL:
            # Nobody looks at the residuals of a step that is predicted.
            return ((), None) if step.skipped else self._computed(step, make_call())
        position = CallPosition(part.component, step.calls[part.component], step.guided)
        step.calls[part.component] += 1
        if self._perturbs and not step.guided:
            # What is not perturbed guides away from nothing.
            return step.conditional if position.number else self._before_perturbed(step, position, make_call)
        if self._unguided is not Unguided.SECOND_CALL or step.guided:
            return self._answered(step, position, make_call)
        if position.number % 2 == 0:
            step.conditional = self._answered(step, position, make_call)
        return step.conditional

    def _before_perturbed(self, step: _Step, position: CallPosition, make_call: Callable[[], ModuleCall]) -> Any:
        """Answer for the samples without and with the prompt; further calls of the step have the latter alone."""
        output = self._answered(step, position, make_call)
        step.conditional = pytree.tree_map(lambda leaf: leaf[len(leaf) // 2 :], output)
        return output

    def _count_sampler(self) -> None:
        self._sampler_calls += 1
        if self._sampler_calls % self._view.scheduler.order == 0 or self._sampler_calls == timesteps_of(self._view):
            self._end_step()

    def _begun_step(self) -> _Step:
        if self._sampler_calls >= timesteps_of(self._view):
            # The next segment of a clip has all steps again, and goes on from none of this one's outputs.
            self._number = self._sampler_calls = 0
            self._last = None
            self._sites.clear()
        if self._step is None:
            # Samplers of second order step twice for all steps but the last.
            steps = ceil(timesteps_of(self._view) / self._view.scheduler.order)
            guided = self._number < ceil(self._guidance_end * steps)
            self._step = _Step(guided, self._can_skip(guided, steps))
        return self._step

    def _can_skip(self, guided: bool, steps: int) -> bool:
        """Whether all calls can be predicted that the step will have, if it is like the last one."""
        if self._policy is None or self._last is None or not self._policy.allows(self._number, steps):
            return False
        if guided != self._last.guided:
            return False
        sites = [self._sites[position] for position in self._last.positions]
        return bool(sites) and all(site.trusts(self._number, steps) for site in sites)

    def _answered(self, step: _Step, position: CallPosition, make_call: Callable[[], ModuleCall]) -> Any:
        step.positions.add(position)
        if step.skipped and self._last is not None and position in self._last.positions:
            return self._sites[position].predicted(self._number)
        # Another denoiser may have taken over.
        step.skipped = False
        output = self._computed(step, make_call())
        if self._policy is None:
            return output
        return self._sites.setdefault(position, CallSite(self._policy)).corrected(self._number, output)

    def _computed(self, step: _Step, call: ModuleCall) -> Any:
        """Return a call's output; without guidance its halves are equal, and one is computed."""
        if step.guided or self._unguided is Unguided.SECOND_CALL or call.samples == 1:
            return self._park(call)
        half = call.samples // 2
        kept = slice(half) if self._unguided is Unguided.SECOND_HALF else slice(half, None)
        arguments = samples_of(call.part, call.arguments, kept)
        output = self._park(replace(call, arguments=arguments, samples=half, tokens=call.tokens // 2))
        # Any scale makes the same of two equal halves.
        return repeated(call.part, output, half)

    def _end_step(self) -> None:
        step = self._last = self._step
        self._step = None
        self._number += 1
        if step is not None:
            self.skipped += step.skipped
            step.conditional = None
            # From calls that no longer come, nothing is predicted.
            self._sites = {position: site for position, site in self._sites.items() if position in step.positions}


def timesteps_of(view: Any) -> int:
    """Return how often a pipeline steps its sampler, which image-to-image does not from the start; known once the
    first call of the denoiser comes. Samplers of second order step twice for all steps but the last.
    """
    return int(getattr(view, "num_timesteps", len(view.scheduler.timesteps)))
