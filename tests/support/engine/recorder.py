"""An observer that remembers what an engine did."""

from __future__ import annotations

from models.catalogue.families import CallStage
from runners.engine.observer import EngineObserver, RequestReport
from runners.engine.passes.executor import FailedPass, Pass


class Recorder(EngineObserver):
    """Remembers every forward pass and every ended request."""

    def __init__(self) -> None:
        self.passes: list[Pass] = []
        self.failed: list[FailedPass] = []
        self.reports: list[RequestReport] = []

    def on_pass(self, forward: Pass) -> None:
        self.passes.append(forward)

    def on_failed_pass(self, failed: FailedPass) -> None:
        self.failed.append(failed)

    def on_end(self, report: RequestReport) -> None:
        self.reports.append(report)

    def of(self, component: str, stage: CallStage | None = None) -> list[Pass]:
        """The passes of a component, in one stage or in all."""
        return [p for p in self.passes if p.part.component == component and stage in (None, p.part.stage)]

    def batch_sizes(self, component: str) -> list[int]:
        """How many calls shared each pass of a component."""
        return [each.calls for each in self.of(component)]

    def samples(self, component: str, stage: CallStage) -> list[int]:
        return [each.samples for each in self.of(component, stage)]

    @property
    def denoising(self) -> list[int]:
        """How many calls shared each denoiser pass."""
        return [each.calls for each in self.passes if each.part.stage is CallStage.DENOISE]
