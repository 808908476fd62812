"""Takes turns between runners that share a CPU's cores.

A pass uses all cores. Two at once each get far less than half: at every operation, the threads of one wait for cores
that the other's occupy. On two cores, two models together were a fifth as fast as one (`docs/growth.md`).
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import struct
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from processes.machine.cores import own_cores

LONGEST_TURN_S = 30.0
"""Others stop waiting for a turn after this long: its process may have been suspended."""
LOOK_S = 1.0
"""How often waiting processes check for that."""
BEGUN_AT_S = struct.Struct("d")
"""The file's content: when the turn began, by the clock that all processes of a machine share."""


class CoreTurns:
    """Lets one pass at a time use this process's cores, among all of this user's processes with the same cores."""

    def __init__(self, folder: Path | None = None) -> None:
        """The lock file is in `folder`, by default the one for temporary files. Raises OSError."""
        cores = hashlib.sha256(repr(own_cores()).encode()).hexdigest()[:12]
        file = (folder or Path(tempfile.gettempdir())) / f"jubako-{os.getuid()}-cores-{cores}.lock"
        self._file = os.open(file, os.O_CREAT | os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if os.fstat(self._file).st_uid != os.getuid():
            raise PermissionError(f"{file} is another user's")
        self._state = threading.Condition()
        self._waiting = self._wanted = False
        """Whether a thread of ours waits for the lock, and whether anybody still waits for that thread."""
        # If files cannot be locked, fail here and not in every pass.
        if self._take():
            self._leave()

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait for the cores, and hold them during the block."""
        own = self._wait()
        try:
            yield
        finally:
            if own:
                self._leave()

    def _take(self) -> bool:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._write(time.monotonic())
        return True

    def _wait(self) -> bool:
        """Take the cores, or sleep until they are free.

        Polling each millisecond, seven processes used a fifth of them. Returns False if the current turn is stuck: then
        go on without the cores.
        """
        with self._state:
            if not self._waiting and self._take():
                return True
            if self._is_stuck():
                return False
            if not self._waiting:
                threading.Thread(target=self._lock_when_free, name="core-turns", daemon=True).start()
                self._waiting = True
            self._wanted = True
            while self._waiting:
                self._state.wait(LOOK_S)
                if self._waiting and self._is_stuck():
                    self._wanted = False
                    return False
            return self._take()

    def _lock_when_free(self) -> None:
        """Wait for the lock. On a thread of its own, since waiting for a lock in the kernel cannot be abandoned."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX)
        finally:
            with self._state:
                self._waiting = False
                if self._wanted:
                    self._state.notify()
                else:
                    self._leave()

    def _leave(self) -> None:
        # The next holder writes its time only after taking the lock; until then it must not be thought stuck.
        self._write(math.inf)
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def _write(self, begun_at_s: float) -> None:
        # A full disk must not fail a pass.
        with suppress(OSError):
            os.pwrite(self._file, BEGUN_AT_S.pack(begun_at_s), 0)

    def _is_stuck(self) -> bool:
        try:
            begun = os.pread(self._file, BEGUN_AT_S.size, 0)
        except OSError:
            return False
        return len(begun) == BEGUN_AT_S.size and time.monotonic() - BEGUN_AT_S.unpack(begun)[0] > LONGEST_TURN_S
