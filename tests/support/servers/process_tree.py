"""What a process has started, while some of it may be ending."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import psutil


def started_by(pid: int | None, is_meant: Callable[[list[str]], bool]) -> list[psutil.Process]:
    """Return those processes below one, by default this one, whose command lines are meant."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if is_meant(process.cmdline()):
                found.append(process)
    return found
