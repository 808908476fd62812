"""What is left of a server whose supervisor was killed: nothing that serves, and no sockets after the next start."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from processes.sockets import remove_dead_sockets
from processes.supervisor import STARTED_BY_SUPERVISOR

WORKER = """
import time
from processes import supervisor
supervisor.LOOK_S = 0.05
supervisor.end_with_supervisor()
print("started", flush=True)
time.sleep(60)
"""
SUPERVISOR = f"""
import os, subprocess, sys, time
worker = subprocess.Popen([sys.executable, "-c", {WORKER!r}], env={{**os.environ, {STARTED_BY_SUPERVISOR!r}: "{{}}"}})
print(worker.pid, flush=True)
time.sleep(60)
"""


def test_processes_end_when_their_supervisor_is_killed() -> None:
    root = Path(__file__).parents[2]
    with subprocess.Popen([sys.executable, "-c", SUPERVISOR], stdout=subprocess.PIPE, cwd=root) as supervisor:
        assert supervisor.stdout is not None
        lines = {supervisor.stdout.readline().strip(), supervisor.stdout.readline().strip()}
        worker = psutil.Process(int((lines - {b"started"}).pop()))
        os.kill(supervisor.pid, signal.SIGKILL)
        gone, _ = psutil.wait_procs([worker], timeout=10)
        assert gone


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder for temporary files, with a path short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="j") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)


def test_sockets_on_which_nobody_listens_are_removed(temporary: Path) -> None:
    listeners = {}
    for name in ("dead", "alive"):
        folder = temporary / f"bentoml-uds-{name}"
        folder.mkdir()
        listeners[name] = socket.socket(socket.AF_UNIX)
        listeners[name].bind(str(folder / "1.sock"))
        listeners[name].listen()
    listeners["dead"].close()
    (temporary / "bentoml-uds-starting").mkdir()
    (temporary / "bentoml-uds-old").mkdir()
    os.utime(temporary / "bentoml-uds-old", (0, 0))
    (temporary / "others").mkdir()
    remove_dead_sockets()
    assert {path.name for path in temporary.iterdir()} == {"bentoml-uds-alive", "bentoml-uds-starting", "others"}
    listeners["alive"].close()
