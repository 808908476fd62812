"""A request that has started: the pipelines of its unfinished images, each parked in a call."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from core.generation.step_cache import StepCache
from runners.engine.passes.module_calls import ModuleCall
from runners.engine.pipeline_run import PipelineRun


@dataclass(frozen=True)
class ParkedRun:
    """A pipeline and the call whose output it waits for."""

    run: PipelineRun
    call: ModuleCall

    @property
    def urgency(self) -> int:
        return self.run.ticket.urgency


@dataclass(eq=False)
class RunningRequest:
    """What the engine knows about a ticket's request while it runs."""

    started_at_s: float
    """By the engine's clock."""
    step_cache: StepCache = StepCache.OFF
    """Never AUTO: the mode is decided when the request starts."""
    calls: dict[PipelineRun, ModuleCall] = field(default_factory=dict)
    begun: int = 0
    """The number of its pipelines that have been started."""
    images_done: int = 0
    sample_tokens: float = 0.0
    """The most tokens of a sample in its denoiser calls so far."""

    def parked(self) -> Iterator[ParkedRun]:
        return (ParkedRun(run, call) for run, call in self.calls.items())

    def abandon(self) -> None:
        """Unwind the pipelines, which frees their tensors."""
        for run in self.calls:
            run.abandon()
