"""Turns of the runners that share a CPU's cores.

A pass uses all cores. Two at once get far less than half of them each: at every operation, the threads of one wait for
cores that the other's have. On two cores, two models together were a fifth as fast as one (`docs/benchmarks.md`).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes.machine.cores import own_cores

PATIENCE_S = 2.0
"""A pass that has waited for so long begins all the same: whoever has the turn may have been stopped in it."""
PAUSE_S = 0.0005


class CoreTurns:
    """Lets one pass at a time use the cores of this process, of all processes of this user that have the same cores."""

    def __init__(self, folder: Path | None = None) -> None:
        """The file that is locked is in `folder`, by default that for temporary ones. Raises OSError."""
        cores = hashlib.sha256(repr(own_cores()).encode()).hexdigest()[:12]
        file = (folder or Path(tempfile.gettempdir())) / f"jubako-{os.getuid()}-cores-{cores}.lock"
        self._file = os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the cores, and have them inside."""
        ends_s = time.monotonic() + PATIENCE_S
        while not (has_turn := self._take()) and time.monotonic() < ends_s:
            time.sleep(PAUSE_S)
        try:
            yield
        finally:
            if has_turn:
                fcntl.flock(self._file, fcntl.LOCK_UN)

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
