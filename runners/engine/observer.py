"""What an engine reports about itself; `runners.host.metrics` turns it into metrics."""

from __future__ import annotations

from dataclasses import dataclass

from core.generation.request import Task
from runners.engine.passes.executor import FailedPass, Pass


@dataclass(frozen=True)
class RequestReport:
    """One ended request. `outcome` is `done` or the code of the error that ended it."""

    task: Task
    outcome: str
    images: int
    waited_s: float
    ran_s: float


class EngineObserver:
    """Called on the engine's thread after every forward pass, done or failed, every change of the waiting line and
    every ended request, and on the delivery's thread after every result. This base class does nothing.
    """

    def on_pass(self, forward: Pass) -> None:
        pass

    def on_failed_pass(self, failed: FailedPass) -> None:
        pass

    def on_copied(self, seconds: float) -> None:
        """Take the seconds for copying a result off the device and converting it to an image or a clip."""

    def on_queue(self, length: int) -> None:
        pass

    def on_end(self, report: RequestReport) -> None:
        pass
