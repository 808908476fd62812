"""A submitted request, from the caller's side: an asynchronous stream of events that can be cancelled."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable

from core.deadline import Deadline
from core.errors import Cancelled, JubakoError
from core.generation.events import Event, Failed, Queued, Result
from core.generation.hints import PromptReading
from core.generation.request import GenerationRequest
from runners.engine.batcher import urgency


class Ticket:
    """Created on the caller's event loop; everything but `cancel` and `events` belongs to the engine's thread."""

    def __init__(
        self,
        request: GenerationRequest,
        accepted_tick: int,
        accepted_at_s: float,
        wake: Callable[[], None],
        release: Callable[[], None],
        reading: PromptReading,
    ) -> None:
        """`release` frees its place in the engine; it is called once, from any thread."""
        self.request = request
        self.reading = reading
        self.urgency = urgency(accepted_tick, request.denoising_steps, request.priority)
        self.accepted_at_s = accepted_at_s
        self.deadline = Deadline(request.deadline_s, accepted_at_s)
        self.cancelled = False
        self._position = 0
        self._wake = wake
        self._release = release
        self._emitted_all = self._taking = self._released = False
        # Guards `_released`, which either thread may set.
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def cancel(self) -> None:
        """Ask the engine to stop at the next step; harmless when the request has ended."""
        self.cancelled = True
        self._wake()

    def reason_to_end(self, now_s: float) -> JubakoError | None:
        """Return why the request must end without a result, or None; `now_s` is by the engine's clock."""
        if self.cancelled:
            return Cancelled("cancelled by the caller")
        return self.deadline.exceeded() if now_s > self.deadline.at_s else None

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield events until the request has ended; leaving early cancels it."""
        results = 0
        ended = False
        self._taking = True
        try:
            while not ended:
                event = await self._events.get()
                results += isinstance(event, Result)
                ended = isinstance(event, Failed) or results == self.request.num_images
                yield event
        finally:
            if not ended:
                self.cancel()
            self._taking = False
            self._release_if_done()

    def _release_if_done(self) -> None:
        with self._lock:
            free = self._emitted_all and not self._taking and not self._released
            self._released |= free
        if free:
            self._release()

    def emit(self, event: Event) -> None:
        """Hand an event to the caller's loop; if that is closed, cancel the request, since no one waits for it."""
        try:
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)
        except RuntimeError:
            self.cancelled = True

    def emit_last(self, event: Event) -> None:
        """Emit the event that ends the request. If a caller is consuming events, and with them images, the request
        keeps its place in the engine until all are consumed; otherwise the place is freed at once.
        """
        self._emitted_all = True
        self._release_if_done()
        self.emit(event)

    def emit_position(self, position: int) -> None:
        """Emit the request's position in the waiting line, 1 being next, if it has changed."""
        if position != self._position:
            self._position = position
            self.emit(Queued(position))
