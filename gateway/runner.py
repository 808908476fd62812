"""What the gateway needs of a model's runner, wherever that is: in a process beside it, on other machines, or here."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from core.events import Event
from core.request import GenerationRequest
from runners.state import RunnerState


class Runner(Protocol):
    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request, down to its last result or Failed; closing the generator cancels it.

        Raises Busy when the runner cannot be reached, RunnerLost when it breaks off, and DeadlineExceeded when it
        hangs.
        """

    async def state(self) -> RunnerState:
        """Return how the runner is; never raises."""

    async def load(self, device: str | None = None) -> RunnerState:
        """Begin to load the model, or to move it to a device.

        Raises InvalidRequest for a device that is not there, and Busy when the runner is not.
        """

    async def unload(self, force: bool = False) -> RunnerState:
        """Free the model when its running requests have finished; `force` cancels them.

        Raises Busy when that takes too long, or the runner is not there.
        """
