"""`bentoml serve` forked from a process that has imported its libraries, which otherwise is most of a start.

A server's processes take 17 s of CPU to start, nearly all of it imports, and the tests start dozens of servers. Here a
server's supervisor is a fork of a process that has imported them (`preloaded`), and so is each process that it starts.
In all else they are what they are elsewhere: children of their supervisor, with signals and environments of their own.
"""

from __future__ import annotations

import ctypes
import inspect
import json
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PRELOADED = "tests.support.preloaded"
WORKER = "_bentoml_impl.worker.service"
"""What the supervisor runs for each service."""
SPARES = 8
"""Processes that wait to become one: those of the tests' largest server, and some for runners that were killed."""
MESSAGE_BYTES = 2**17
_EXECUTE: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]


class ForkedServer:
    """A supervisor, with as much of `subprocess.Popen` as the tests use."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, PRELOADED])
        given = (list(arguments), dict(environment), str(folder), str(log))
        self._process = context.Process(target=_serve, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired("bentoml serve", timeout)
        return self.returncode


ServerProcess = ForkedServer | subprocess.Popen[bytes]


class Spares:
    """Children of the supervisor that wait for what to become."""

    def __init__(self, ours: socket.socket, pids: list[int]) -> None:
        self._ours = ours
        self._pids = pids

    def use(self) -> None:
        """Have the processes of services be spares from now on, until these are used up."""
        signature = inspect.signature(_EXECUTE)

        def execute(process: Any, *given: Any) -> None:
            call = signature.bind(process, *given).arguments
            if self._pids and list(call["args"][1:3]) == ["-m", WORKER]:
                process.pid = self._become(call["args"][3:], call["env"], call["cwd"])
                process._child_created = True
            else:
                _EXECUTE(process, *given)

        subprocess.Popen._execute_child = execute  # type: ignore[attr-defined]

    def _become(self, arguments: Sequence[str], environment: Mapping[str, str], folder: str) -> int:
        """Let a spare be a process of a service, with the socket that `arguments` name; return its process id."""
        place = arguments.index("--fd")
        others = [*arguments[:place], *arguments[place + 2 :]]
        socket.send_fds(
            self._ours, [json.dumps([others, dict(environment), folder]).encode()], [int(arguments[place + 1])]
        )
        pid = int(self._ours.recv(MESSAGE_BYTES))
        self._pids.remove(pid)
        return pid

    def close(self) -> None:
        """Let those that are left end, and wait for that."""
        self._ours.close()
        for pid in self._pids:
            # Circus waits for any child, so also for a spare that was killed.
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _serve(arguments: list[str], environment: dict[str, str], folder: str, log: str) -> None:
    """Be the supervisor; in its spares, be the process of a service."""
    _redirect(log)
    assert PRELOADED in sys.modules, f"python -m {PRELOADED} says why it cannot be imported"
    os.chdir(folder)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pids = []
    for _ in range(SPARES):
        pids.append(os.fork())
        if pids[-1] == 0:
            ours.close()
            _be_a_spare(theirs)
            return
    theirs.close()
    spares = Spares(ours, pids)
    spares.use()
    try:
        _run("bentoml", arguments, environment)
    finally:
        spares.close()


def _redirect(log: str) -> None:
    with Path(os.devnull).open("rb") as nothing, Path(log).open("ab") as output:
        for file, number in ((nothing, 0), (output, 1), (output, 2)):
            os.dup2(file.fileno(), number)


def _be_a_spare(theirs: socket.socket) -> None:
    """Wait for what to become, or for the supervisor's end."""
    message, fds, *_ = socket.recv_fds(theirs, MESSAGE_BYTES, 1)
    if not message:
        return
    theirs.send(str(os.getpid()).encode())
    theirs.close()
    arguments, environment, folder = json.loads(message)
    os.setsid()
    os.chdir(folder)
    _run(WORKER, [*arguments, "--fd", str(fds[0])], environment)


def _run(module: str, arguments: list[str], environment: Mapping[str, str]) -> None:
    _be_called([sys.executable, "-m", module, *arguments])
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _be_called(words: Sequence[str]) -> None:
    """Show these as this process's command line, by which processes of a server find each other."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    line = "\0".join(words).encode() + b"\0"
    assert len(line) <= end - begin, "the command line of the process that all are forked from is shorter"
    ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)
