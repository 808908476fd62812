"""The folders of sockets that BentoML makes for each server, and leaves behind when its supervisor is killed."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from pathlib import Path

log = logging.getLogger("jubako")

FOLDERS = "bentoml-uds-*"
ANSWER_S = 1.0
"""A connection takes no longer, unless the server's queue is full, which also means that it is alive."""
STARTING_S = 60.0
"""A younger folder without sockets may belong to a server that is just starting."""


def remove_dead_sockets() -> None:
    """Remove the folders of this user's servers that no longer have a listening process."""
    for folder in Path(tempfile.gettempdir()).glob(FOLDERS):
        if _is_dead(folder):
            shutil.rmtree(folder, ignore_errors=True)
            log.info("removed %s, which a server that was killed has left", folder)


def _is_dead(folder: Path) -> bool:
    try:
        status, sockets = folder.stat(), list(folder.iterdir())
    except OSError:
        # Another process has removed it, or it is another user's.
        return False
    if status.st_uid != os.getuid():
        return False
    return not any(map(_listens, sockets)) if sockets else time.time() - status.st_mtime > STARTING_S


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(ANSWER_S)
        try:
            client.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            # Unknown, so not ours to remove.
            return True
    return True
