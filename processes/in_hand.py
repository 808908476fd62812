"""The requests that a process has in hand: what an orderly end waits for, and what it refuses and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager


class InHand:
    """Requests by the tasks that answer them."""

    def __init__(self) -> None:
        self.over = False
        """Whether what was still in hand has been cut."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._watching: set[asyncio.Task[None]] = set()
        """Those who only look on, and might do so for ever."""

    @property
    def count(self) -> int:
        return len(self._tasks)

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Count the running task as a request in hand."""
        task = _current()
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)
            self._watching.discard(task)

    def only_watches(self) -> None:
        """Do not wait for the running task, which is a request in hand."""
        self._tasks.discard(_current())
        self._watching.add(_current())

    async def finished(self) -> None:
        """Return once none is in hand, but for those who only look on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    def cut(self) -> None:
        """End all that is left."""
        self.over = True
        for task in (*self._tasks, *self._watching):
            task.cancel()


def _current() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
