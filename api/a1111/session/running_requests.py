"""Requests that are being drawn, for `/progress`, `/interrupt` and `/skip`.

Callers, told apart by their keys, see and end only their own requests; without keys, all callers are one. If a caller
has several, the first is meant, as in the web UI, which draws one at a time. Only the process that draws a request
knows it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from core.asyncio_tasks import first_of
from core.caller import current_caller
from core.generation.events import Event, Picture, Preview, Step

LEAST_PROGRESS = 0.01
"""The progress of a request that has not begun, as in the web UI."""


class Stopped(Exception):
    """A part of a request was ended by its caller."""


class Drawing:
    """One request: its `parts` are drawn one after the other, the images of a part together."""

    def __init__(self, job: str, parts: int, steps: int) -> None:
        self.job, self.parts, self.steps = job, parts, steps
        self.part, self.step = 0, 0
        self.preview: Preview | None = None
        self.interrupted = self.skipped = False
        self.started_s, self.begun_at = time.monotonic(), datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self._stop = asyncio.Event()

    def interrupt(self) -> None:
        """End the request; its answer has the finished images."""
        self.interrupted = True
        self._stop.set()

    def skip(self) -> None:
        """End the current part and go on with the next."""
        self.skipped = True
        self._stop.set()

    def begin(self, part: int) -> None:
        self.part, self.step, self.preview, self.skipped = part, 0, None, False
        if not self.interrupted:
            self._stop.clear()

    def watch(self, event: Event) -> None:
        """Note an event of the current part."""
        match event:
            case Step():
                self.step = event.step
            case Preview():
                self.preview = event
            case Picture():
                self.step = self.steps

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Await `work`, which draws the current part, until it is done or the caller ends it."""
        try:
            await first_of(work, self._stop.wait(), Stopped())
        except Stopped:
            return

    @property
    def progress(self) -> float:
        """0 to 1, as the web UI computes it."""
        done = self.part + self.step / max(1, self.steps)
        return min(1.0, LEAST_PROGRESS + done / self.parts)

    @property
    def left_s(self) -> float:
        """Seconds left at the speed so far."""
        elapsed_s = time.monotonic() - self.started_s
        return elapsed_s / self.progress - elapsed_s


class Running:
    """All requests being drawn, with their callers, in order of arrival."""

    def __init__(self) -> None:
        self._drawings: list[tuple[str, Drawing]] = []

    @contextmanager
    def holding(self, drawing: Drawing) -> Iterator[Drawing]:
        """Let the current caller find a drawing while the block runs."""
        held = current_caller().owner, drawing
        self._drawings.append(held)
        try:
            yield drawing
        finally:
            self._drawings.remove(held)

    def own(self) -> Drawing | None:
        """Return the current caller's first drawing."""
        owner = current_caller().owner
        return next((drawing for whose, drawing in self._drawings if whose == owner), None)


RUNNING = Running()
