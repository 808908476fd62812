"""What a process has in hand: what an orderly end waits for, and what it refuses and cuts."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

Task = asyncio.Task[None]


class Held:
    """One request or job, while it is in hand."""

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
    """Requests and jobs by the tasks that do them."""

    def __init__(self) -> None:
        self.over = False
        """Whether what was still in hand has been cut."""
        self.tasks: set[Task] = set()
        self._watching: set[Task] = set()
        """Those who only look on, and might do so for ever."""

    @property
    def count(self) -> int:
        return len(self.tasks)

    @contextmanager
    def holding(self) -> Iterator[Held]:
        """Count the running task as one in hand."""
        task = _current()
        self.tasks.add(task)
        try:
            yield Held(task, self.tasks, self._watching)
        finally:
            self.tasks.discard(task)
            self._watching.discard(task)

    async def finished(self) -> None:
        """Return once none is in hand, but for those who only look on."""
        while self.tasks:
            await asyncio.wait(set(self.tasks), return_when=asyncio.FIRST_COMPLETED)

    def cut(self) -> None:
        """End all that is left."""
        self.over = True
        for task in (*self.tasks, *self._watching):
            task.cancel()


def _current() -> Task:
    task = asyncio.current_task()
    assert task is not None
    return task
