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

WORKER = """
import os, time
from processes import supervisor
print("started", flush=True)
while {imports_until}:
    time.sleep(0.01)
supervisor.LOOK_S = 0.05
supervisor.end_with_supervisor()
time.sleep(60)
"""
SUPERVISOR_OF = """
import os, subprocess, sys, time
from processes import supervisor
supervisor.end_with_supervisor()
environment = {{**os.environ, supervisor.STARTED_BY_SUPERVISOR: "{{}}"}}
worker = subprocess.Popen([sys.executable, "-c", {worker!r}], env=environment)
print(worker.pid, flush=True)
time.sleep(60)
"""
AT_ONCE, ORPHANED = "False", "os.getppid() == int(os.environ[supervisor.SUPERVISOR])"


@pytest.mark.parametrize("imports_until", [AT_ONCE, ORPHANED])
def test_processes_end_when_their_supervisor_is_killed_even_while_they_import(imports_until: str) -> None:
    root = Path(__file__).parents[3]
    script = SUPERVISOR_OF.format(worker=WORKER.format(imports_until=imports_until))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=root) as supervisor:
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
