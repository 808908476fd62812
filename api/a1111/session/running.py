"""Requests while they are drawn: what `/progress` reports of them, and what `/interrupt` and `/skip` end.

A caller sees and ends their own alone, by their key; without keys, all callers are one. Of several, the first is meant,
as in the web UI, which draws one after the other. It is known by the process that draws it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from core.caller import current_caller
from core.generation.events import Event, Picture, Preview, Step
from core.tasks import first_of

LEAST_PROGRESS = 0.01
"""Of a request that has not begun, as the web UI has it."""


class Stopped(Exception):
    """A part of a request was ended by its caller."""


class Drawing:
    """One request: `parts` follow one another, and each denoises its images together."""

    def __init__(self, job: str, parts: int, steps: int) -> None:
        self.job, self.parts, self.steps = job, parts, steps
        self.part, self.step = 0, 0
        self.preview: Preview | None = None
        self.interrupted = self.skipped = False
        self.started_s, self.begun_at = time.monotonic(), datetime.now(UTC).strftime("%Y%m%d%H%M%S")
        self._stop = asyncio.Event()

    def interrupt(self) -> None:
        """End it; what is done is its answer."""
        self.interrupted = True
        self._stop.set()

    def skip(self) -> None:
        """End its present part, and go on with the next."""
        self.skipped = True
        self._stop.set()

    def begin(self, part: int) -> None:
        self.part, self.step, self.preview, self.skipped = part, 0, None, False
        if not self.interrupted:
            self._stop.clear()

    def watch(self, event: Event) -> None:
        """Take notice of an event of the present part."""
        match event:
            case Step():
                self.step = event.step
            case Preview():
                self.preview = event
            case Picture():
                self.step = self.steps

    async def unless_stopped(self, work: Coroutine[Any, Any, None]) -> None:
        """Do what draws the present part, until its caller ends it."""
        try:
            await first_of(work, self._stop.wait(), Stopped())
        except Stopped:
            return

    @property
    def progress(self) -> float:
        """0 to 1, as the web UI reckons it."""
        done = self.part + self.step / max(1, self.steps)
        return min(1.0, LEAST_PROGRESS + done / self.parts)

    @property
    def left_s(self) -> float:
        """Seconds that it will take if it goes on as before."""
        elapsed_s = time.monotonic() - self.started_s
        return elapsed_s / self.progress - elapsed_s


class Running:
    """All that is drawn, by its callers, in the order in which it came."""

    def __init__(self) -> None:
        self._drawings: list[tuple[str, Drawing]] = []

    @contextmanager
    def holding(self, drawing: Drawing) -> Iterator[Drawing]:
        """Let its caller find a drawing while the block lasts."""
        held = current_caller().owner, drawing
        self._drawings.append(held)
        try:
            yield drawing
        finally:
            self._drawings.remove(held)

    def own(self) -> Drawing | None:
        """Return the first of the caller's."""
        owner = current_caller().owner
        return next((drawing for whose, drawing in self._drawings if whose == owner), None)


RUNNING = Running()
