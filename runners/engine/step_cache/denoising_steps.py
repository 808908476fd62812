"""Decides which of an image's denoiser calls are computed, step by step, and answers the others."""

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
from models.catalogue.families import CallStage, Family, Part, Unguided
from runners.engine.passes.merging import repeated_output, samples_of
from runners.engine.passes.module_calls import ModuleCall
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import POLICIES


@dataclass(frozen=True)
class CallPosition:
    """The position of a denoiser call within a step; outputs at one position are extrapolated from step to step."""

    component: str
    number: int
    """0 is the component's first call in the step; Qwen-Image and Wan have a second one, without the prompt, and
    second-order samplers twice as many.
    """
    guided: bool
    """Whether the step has an unguided half."""


@dataclass(eq=False)
class _Step:
    """A step in progress."""

    guided: bool
    skipped: bool
    """Whether all of its calls are predicted, as far as known."""
    calls: Counter[str] = field(default_factory=Counter)
    """By component."""
    positions: set[CallPosition] = field(default_factory=set)
    conditional: Any = None
    """The output of its last call with the prompt, or the prompt's half of a call for both."""


class _CountedStep:
    """Counts the calls of a sampler's `step`; copies of the sampler, such as those for sound, get the plain method."""

    def __init__(self, plain: Callable[..., Any], count: Callable[[], None]) -> None:
        self._plain = plain
        self._count = count
        # Pipelines inspect the signature of `step`.
        update_wrapper(self, plain)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self._count()
        return self._plain(*args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return deepcopy(self._plain, memo)


class DenoisingSteps:
    """Follows one image through its denoising steps, each of which ends with the sampler's step."""

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
        """By the positions of the last step's calls."""
        self._number = 0
        """The 0-based number of the current step, or of the next one between steps."""
        self._sampler_calls = 0
        self._step: _Step | None = None
        self._last: _Step | None = None
        self._view: Any = None
        self.skipped = 0
        """The number of steps that were predicted instead of computed."""

    @property
    def skipped_last(self) -> bool:
        """Whether the last finished step was predicted."""
        return self._last is not None and self._last.skipped

    def follow(self, view: Any) -> None:
        """Count the steps of a pipeline's sampler. Call it before any `answer`, and `close` at the end."""
        self._view = view
        view.scheduler.step = _CountedStep(view.scheduler.step, self._count_sampler)

    def close(self) -> None:
        """Drop all outputs, and the view, to break the cycle with its sampler, in which tensors would live longer."""
        self._sites.clear()
        self._step = self._last = self._view = None

    def answer(self, part: Part, make_call: Callable[[], ModuleCall]) -> Any:
        """Return the output of the denoiser, or of a ControlNet before it; `make_call` is called only to compute it."""
        step = self._begun_step()
        if part.stage is CallStage.CONTROL:
            # The residuals of a predicted step are not used.
            return ((), None) if step.skipped else self._computed(step, make_call())
        position = CallPosition(part.component, step.calls[part.component], step.guided)
        step.calls[part.component] += 1
        if self._perturbs and not step.guided:
            # An unperturbed output as the perturbed one has no guiding effect.
            return step.conditional if position.number else self._before_perturbed(step, position, make_call)
        if self._unguided is not Unguided.SECOND_CALL or step.guided:
            return self._answered(step, position, make_call)
        if position.number % 2 == 0:
            step.conditional = self._answered(step, position, make_call)
        return step.conditional

    def _before_perturbed(self, step: _Step, position: CallPosition, make_call: Callable[[], ModuleCall]) -> Any:
        """Answer the call with both halves, and keep the prompt's half to answer the step's further calls."""
        output = self._answered(step, position, make_call)
        step.conditional = pytree.tree_map(lambda leaf: leaf[len(leaf) // 2 :], output)
        return output

    def _count_sampler(self) -> None:
        self._sampler_calls += 1
        if self._sampler_calls % self._view.scheduler.order == 0 or self._sampler_calls == timesteps_of(self._view):
            self._end_step()

    def _begun_step(self) -> _Step:
        if self._sampler_calls >= timesteps_of(self._view):
            # The next segment of a clip starts over with all steps, and without outputs to extrapolate from.
            self._number = self._sampler_calls = 0
            self._last = None
            self._sites.clear()
        if self._step is None:
            # Second-order samplers step twice in each step but the last.
            steps = ceil(timesteps_of(self._view) / self._view.scheduler.order)
            guided = self._number < ceil(self._guidance_end * steps)
            self._step = _Step(guided, self._can_skip(guided, steps))
        return self._step

    def _can_skip(self, guided: bool, steps: int) -> bool:
        """Whether all calls of the step can be predicted, if it has the same calls as the last one."""
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
        # Not at a known position: another denoiser may have taken over.
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
        # With equal halves, the guidance scale has no effect.
        return repeated_output(call.part, output, half)

    def _end_step(self) -> None:
        step = self._last = self._step
        self._step = None
        self._number += 1
        if step is not None:
            self.skipped += step.skipped
            step.conditional = None
            # Drop the positions that this step did not call.
            self._sites = {position: site for position, site in self._sites.items() if position in step.positions}


def timesteps_of(view: Any) -> int:
    """Return how often a pipeline steps its sampler; image-to-image skips the first steps. It is known from the first
    denoiser call on. Second-order samplers step twice in each step but the last.
    """
    return int(getattr(view, "num_timesteps", len(view.scheduler.timesteps)))
