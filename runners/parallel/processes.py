"""Starts the processes that help a runner."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from runners.parallel.messages import Channel

ROOT = Path(__file__).parents[2]


class HelperProcess(Protocol):
    """The part of a child process's interface that a group needs."""

    @property
    def pid(self) -> int | None:
        """Its process id."""

    def kill(self) -> None:
        """End it at once."""

    def wait(self) -> int:
        """Wait for its end."""


def start(connection: socket.socket) -> HelperProcess:
    """Start a helper with its end of a connection."""
    number = connection.fileno()
    command = [sys.executable, "-m", "runners.parallel.helper", str(number)]
    return subprocess.Popen(command, cwd=ROOT, pass_fds=(number,), stdin=subprocess.DEVNULL)


class Helper:
    """A child and the channel to it."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self.process = start(theirs)
        self.channel = Channel(ours)

    def close(self) -> None:
        """End the process at once, since it has nothing to finish."""
        self.channel.close()
        self.process.kill()
        self.process.wait()
