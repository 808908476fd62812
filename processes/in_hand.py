"""The requests that a process has in hand: what an orderly end waits for, and what it refuses and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

Task = asyncio.Task[None]


class Held:
    """One request, while it is in hand."""

    def __init__(self, task: Task, working: set[Task], watching: set[Task]) -> None:
        self._task = task
        self._working = working
        self._watching = watching

    def only_watches(self) -> None:
        """An orderly end need not wait for it."""
        self._working.discard(self._task)
        self._watching.add(self._task)

    def works(self) -> None:
        """An orderly end waits for it."""
        self._watching.discard(self._task)
        self._working.add(self._task)


class InHand:
    """Requests by the tasks that answer them."""

    def __init__(self) -> None:
        self.over = False
        """Whether what was still in hand has been cut."""
        self._tasks: set[Task] = set()
        self._watching: set[Task] = set()
        """Those who only look on, and might do so for ever."""

    @property
    def count(self) -> int:
        return len(self._tasks)

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """Count the running task as a request in hand."""
        task = _current()
        self._tasks.add(task)
        try:
            yield Held(task, self._tasks, self._watching)
        finally:
            self._tasks.discard(task)
            self._watching.discard(task)

    async def finished(self) -> None:
        """Return once none is in hand, but for those who only look on."""
        while self._tasks:
            await asyncio.wait(set(self._tasks), return_when=asyncio.FIRST_COMPLETED)

    def cut(self) -> None:
        """End all that is left."""
        self.over = True
        for task in (*self._tasks, *self._watching):
            task.cancel()


def _current() -> Task:
    task = asyncio.current_task()
    assert task is not None
    return task
