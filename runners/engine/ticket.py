"""A submitted request as its caller sees it: an asynchronous stream of events that can be cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from core.deadline import Deadline
from core.events import Event, Failed, Queued, Result
from core.hints import PromptReading
from core.request import GenerationRequest
from runners.engine.batcher import urgency


class Ticket:
    """Made on the caller's event loop; all but `cancel` and `events` belongs to the engine's thread."""

    def __init__(
        self,
        request: GenerationRequest,
        accepted_tick: int,
        accepted_at_s: float,
        wake: Callable[[], None],
        reading: PromptReading,
    ) -> None:
        self.request = request
        self.reading = reading
        self.urgency = urgency(accepted_tick, request.denoising_steps, request.priority)
        self.accepted_at_s = accepted_at_s
        self.deadline = Deadline(request.deadline_s, accepted_at_s)
        self.cancelled = False
        self._position = 0
        self._wake = wake
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def cancel(self) -> None:
        """Ask the engine to stop at the next step; harmless when the request has ended."""
        self.cancelled = True
        self._wake()

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield events until the request has ended; leaving early cancels it."""
        results = 0
        ended = False
        try:
            while not ended:
                event = await self._events.get()
                results += isinstance(event, Result)
                ended = isinstance(event, Failed) or results == self.request.num_images
                yield event
        finally:
            if not ended:
                self.cancel()

    def emit(self, event: Event) -> None:
        """Hand an event to the caller's loop; when that loop is closed, nobody waits for the request."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:
            self.cancelled = True

    def emit_position(self, position: int) -> None:
        """Emit where the request is in the waiting line, 1 being next, if that has changed."""
        if position != self._position:
            self._position = position
            self.emit(Queued(position))
