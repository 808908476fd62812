"""`bentoml serve`, and other commands, forked from a process that has imported their libraries: most of a start.

A server's processes take 17 s of CPU to start, nearly all of it imports, and the tests start dozens of servers. Here a
server's supervisor is a fork of a process that has imported them (`preloaded`), and so is each process that it starts.
In all else they are what they are elsewhere: children of their supervisor, with signals and environments of their own.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import json
import logging
import multiprocessing
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing import forkserver
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from tests.support.surroundings.network import enter

ROOT = Path(__file__).parents[3]
PRELOADED = "tests.support.servers.preloaded"
WORKER = "_bentoml_impl.worker.service"
"""What the supervisor runs for each service."""
SPARES = 8
"""Processes that wait to become one: those of the tests' largest server, and some for runners that were killed."""
LOOK_S = 2.0
"""How often its supervisor looks for processes that have ended; by itself every ten seconds, and tests wait for it."""
RUN_TIMEOUT_S = 120.0
MESSAGE_BYTES = 2**17
_EXECUTE: Any = subprocess.Popen._execute_child  # type: ignore[attr-defined]


def preload() -> None:
    """Start the process that is forked, unless it runs, on this machine's network: whichever test comes first."""
    multiprocessing.get_context("forkserver").set_forkserver_preload([__name__, PRELOADED])
    forkserver.ensure_running()


class Forked:
    """A call in a fork, with as much of `subprocess.Popen` as the tests use."""

    def __init__(self, call: Callable[..., None], *given: Any) -> None:
        preload()
        self._process = multiprocessing.get_context("forkserver").Process(target=call, args=given, daemon=True)
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
            raise subprocess.TimeoutExpired("a fork", timeout)
        return self.returncode


ServerProcess = Forked | subprocess.Popen[bytes]


def forked_server(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    log: Path,
    *,
    namespace: str | None = None,
    sources: Path | None = None,
) -> Forked:
    """Be the supervisor of `bentoml`, on the network of this machine or of a `namespace`.

    One with `sources` of its own, those of a Bento, knows nothing of this repository.
    """
    return Forked(_serve, list(arguments), dict(environment), str(folder), str(log), namespace, sources)


def forked_python(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> Forked:
    """Do what `python` does with these arguments: `-c` and a script, `-m` and a module, or a file."""
    return Forked(_be_python, list(arguments), dict(environment), str(folder), os.devnull, str(log), str(log))


def run_forked(
    arguments: Sequence[str], environment: Mapping[str, str], folder: Path, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run what `forked_python` does to its end, with `given` as its input."""
    with TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("stdin", "stdout", "stderr")]
        files[0].write_text(given)
        process = Forked(_be_python, list(arguments), dict(environment), str(folder), *map(str, files))
        try:
            status = process.wait(RUN_TIMEOUT_S)
        finally:
            process.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess(list(arguments), status, files[1].read_text(), files[2].read_text())


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


@contextmanager
def none_to_spare(pid: int) -> Iterator[None]:
    """Keep the supervisor of a service's process from replacing it until the block ends."""
    supervisor = psutil.Process(psutil.Process(pid).ppid())
    held = [each for each in supervisor.children() if WORKER not in each.cmdline()]
    assert held, "without a spare, its replacement would be a process of its own"
    for spare in held:
        spare.suspend()
    try:
        yield
    finally:
        for spare in held:
            spare.resume()


def _serve(
    arguments: list[str],
    environment: dict[str, str],
    folder: str,
    log: str,
    namespace: str | None,
    sources: Path | None,
) -> None:
    """Be the supervisor; in its spares, be the process of a service."""
    _redirect(os.devnull, log, log)
    os.chdir(folder)
    if sources is not None:
        _import_from(sources)
    if namespace is not None:
        enter(namespace)
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
    _look_often()
    try:
        _run("bentoml", arguments, environment)
    finally:
        spares.close()


def _look_often() -> None:
    circus: Any = importlib.import_module("bentoml._internal.utils.circus")
    circus.create_standalone_arbiter = partial(circus.create_standalone_arbiter, check_delay=LOOK_S)


def _be_python(arguments: list[str], environment: dict[str, str], folder: str, *files: str) -> None:
    _redirect(*files)
    # Of a library that servers import and most commands do not.
    logging.root.handlers.clear()
    os.chdir(folder)
    sys.path.insert(0, folder)
    kind, *others = arguments
    if kind == "-m":
        _run(others[0], others[1:], environment)
        return
    _have(environment)
    if kind != "-c":
        sys.argv = arguments
        runpy.run_path(kind, run_name="__main__")
        return
    sys.argv = [kind, *others[1:]]
    exec(compile(others[0], "<string>", "exec"), {"__name__": "__main__"})


def _redirect(given: str, output: str, errors: str) -> None:
    assert PRELOADED in sys.modules, f"python -m {PRELOADED} says why it cannot be imported"
    for name, mode, number in ((given, "rb", 0), (output, "ab", 1), (errors, "ab", 2)):
        with Path(name).open(mode) as file:
            os.dup2(file.fileno(), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115, since it stays open


def _import_from(sources: Path) -> None:
    """Have what is preloaded of this repository from elsewhere: each process of a service would import it otherwise."""
    modules = [name for name in sys.modules[PRELOADED].MODULES if _is_ours(sys.modules[name])]
    _forget_this_repository()
    sys.path.insert(0, str(sources))
    for name in modules:
        importlib.import_module(name)


def _is_ours(module: Any) -> bool:
    file = getattr(module, "__file__", None) or ""
    return file.startswith(f"{ROOT}/") and not file.startswith(f"{sys.prefix}/")


def _forget_this_repository() -> None:
    """Have no module of it but this one, no metric and no pytree node of theirs, and no way to it."""
    sys.path[:] = [place for place in sys.path if place and Path(place).resolve() != ROOT]
    for metric in _metrics():
        REGISTRY.unregister(metric)
    forgotten = {name for name, module in sys.modules.items() if _is_ours(module) and name != __name__}
    pytree = importlib.import_module("torch.utils._pytree")
    for kind, node in list(pytree.SUPPORTED_NODES.items()):
        if node.flatten_fn.__module__ in forgotten:
            # Not by torch's own function, which fails at the second that has no name for files.
            del pytree.SUPPORTED_NODES[kind], pytree.SUPPORTED_SERIALIZED_TYPES[kind]
    for name in forgotten:
        del sys.modules[name]


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
    _have(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _have(environment: Mapping[str, str]) -> None:
    """Have an environment, of which Python, the hub's client and that of metrics read their parts as they start."""
    os.environ.clear()
    os.environ.update(environment)
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    sys.pycache_prefix = environment.get("PYTHONPYCACHEPREFIX")
    constants = importlib.reload(importlib.import_module("huggingface_hub.constants"))
    importlib.import_module("huggingface_hub.hf_api").api.endpoint = constants.ENDPOINT
    _keep_metrics()


def _keep_metrics() -> None:
    """Have the metrics that are there already kept where the environment says; none has a value yet."""
    values: Any = importlib.import_module("prometheus_client.values")
    values.ValueClass = values.get_value_class()
    for metric in _metrics():
        if metric._is_observable():
            metric._metric_init()


def _metrics() -> set[Any]:
    return {each for each in REGISTRY._names_to_collectors.values() if isinstance(each, MetricWrapperBase)}


def _be_called(words: Sequence[str]) -> None:
    """Show these as this process's command line, by which processes of a server find each other."""
    begin, end = map(int, Path("/proc/self/stat").read_text().rpartition(")")[2].split()[45:47])
    line = "\0".join(words).encode() + b"\0"
    assert len(line) <= end - begin, "the command line of the process that all are forked from is shorter"
    ctypes.memmove(begin, line.ljust(end - begin, b"\0"), end - begin)
