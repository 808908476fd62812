"""What the gateway needs of a model's runner, whether in this process, in another one or on other machines."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from core.generation.events import Event
from core.generation.request import GenerationRequest
from runners.state import RunnerState


class Runner(Protocol):
    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Generate a request and yield its events, up to its last result or Failed; closing the generator cancels it.

        Raises Busy when the runner cannot be reached, RunnerLost when it breaks off, and DeadlineExceeded when it
        hangs.
        """

    async def state(self) -> RunnerState:
        """Return the runner's state; never raises."""

    async def load(self, device: str | None = None) -> RunnerState:
        """Start loading the model, or moving it to a device.

        Raises InvalidRequest for a device that does not exist, and Busy when the runner cannot be reached.
        """

    async def unload(self, force: bool = False, device: str | None = None) -> RunnerState:
        """Free the model once its running requests are done; `force` cancels them.

        Of several runners, only those on `device`, if one is given.

        Raises Busy when that takes too long, or the runner cannot be reached.
        """
