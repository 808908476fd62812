"""Bounds the memory that all images and videos being decoded may take together."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager


class Budget:
    """A weighted semaphore for threads, first come, first served: a large image is not overtaken for ever."""

    def __init__(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes
        self._free_bytes = total_bytes
        self._waiting: deque[object] = deque()
        self._changed = threading.Condition()
        self._thread = threading.local()

    @contextmanager
    def of(self, needed_bytes: int) -> Iterator[None]:
        """Wait until so much is free and hold it until the block ends; more than the whole budget counts as all of it.

        Blocks within it, in the same thread, take nothing: two threads could wait for each other's memory for ever.
        """
        if getattr(self._thread, "holds", False):
            yield
            return
        needed_bytes = min(needed_bytes, self.total_bytes)
        turn = object()
        with self._changed:
            self._waiting.append(turn)
            self._changed.wait_for(lambda: self._waiting[0] is turn and self._free_bytes >= needed_bytes)
            self._waiting.popleft()
            self._free_bytes -= needed_bytes
            self._changed.notify_all()
        self._thread.holds = True
        try:
            yield
        finally:
            self._thread.holds = False
            with self._changed:
                self._free_bytes += needed_bytes
                self._changed.notify_all()
