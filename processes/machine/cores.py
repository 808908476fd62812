"""Divides a CPU's cores between processes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

TASKS = Path("/proc/self/task")


def cores_of(slot: int, slots: int, cores: Sequence[int]) -> list[int]:
    """Return the cores of slot `slot` of `slots`; slots differ by one core at most."""
    first, end = (number * len(cores) // slots for number in (slot, slot + 1))
    return list(cores[first:end])


def own_cores() -> list[int]:
    """Return the cores that this process may use."""
    if not hasattr(os, "sched_getaffinity"):
        return list(range(os.cpu_count() or 1))
    return sorted(os.sched_getaffinity(0))


def keep_to_cores(slot: int, slots: int) -> int:
    """Restrict this process, with its present and future threads, to its part of the cores; return how many."""
    if not hasattr(os, "sched_setaffinity"):
        return max(1, len(own_cores()) // slots)
    own = cores_of(slot, slots, own_cores())
    for thread in TASKS.iterdir():
        # The thread may have ended meanwhile.
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), own)
    return len(own)
