"""A temporary folder that belongs to one process and is removed with it, or by the next process if it was killed.

A lock on the folder shows whether its process lives: the operating system releases it, however the process ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from pathlib import Path

PREFIX = "jubako-page-"


class OwnFolder:
    def __init__(self) -> None:
        """Make it."""
        lock = None
        while lock is None:
            # Try again if another process has just taken it for an abandoned one.
            self.path = Path(tempfile.mkdtemp(prefix=PREFIX))
            lock = _lock(self.path)
        self._lock = lock

    def remove(self) -> None:
        """Remove the folder with its contents."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_left() -> None:
    """Remove the folders that this user's processes have left behind."""
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        if (lock := _lock(path)) is not None:
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Return the lock of a folder, or None if it is another user's, locked, or gone."""
    try:
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(folder)
        return None
    # It may have been removed before it was locked.
    if os.fstat(folder).st_uid != os.getuid() or not path.exists():
        os.close(folder)
        return None
    return folder
