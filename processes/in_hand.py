"""What a process has in hand: the requests and jobs that an orderly shutdown waits for, or cuts off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

AsyncTask = asyncio.Task[None]


class Held:
    """One request or job, while it is in hand."""

    def __init__(self, task: AsyncTask, working: set[AsyncTask], watching: set[AsyncTask]) -> None:
        self._task = task
        self._working = working
        self._watching = watching

    def only_watches(self) -> None:
        """Mark it as one that an orderly shutdown need not wait for."""
        self._working.discard(self._task)
        self._watching.add(self._task)

    def works(self) -> None:
        """Mark it as one that an orderly shutdown waits for."""
        self._watching.discard(self._task)
        self._working.add(self._task)


class InHand:
    """The requests and jobs in hand, by the tasks that do them."""

    def __init__(self) -> None:
        self.over = False
        """Whether the requests still in hand have been cut off."""
        self.tasks: set[AsyncTask] = set()
        self._watching: set[AsyncTask] = set()
        """Requests that only watch, and might do so for ever."""

    @property
    def count(self) -> int:
        return len(self.tasks)

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """Count the running task as a request or job in hand."""
        task = _current()
        self.tasks.add(task)
        try:
            yield Held(task, self.tasks, self._watching)
        finally:
            self.tasks.discard(task)
            self._watching.discard(task)

    async def finished(self) -> None:
        """Return once no request is in hand, except those that only watch."""
        while self.tasks:
            await asyncio.wait(set(self.tasks), return_when=asyncio.FIRST_COMPLETED)

    def cut(self) -> None:
        """Cancel all remaining requests."""
        self.over = True
        for task in (*self.tasks, *self._watching):
            task.cancel()


def _current() -> AsyncTask:
    task = asyncio.current_task()
    assert task is not None
    return task
