"""The compared servers as processes: started on a free loopback port, awaited, warmed up, stopped by pid."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import psutil

from benchmarks.client import Client
from benchmarks.load import closed_loop
from benchmarks.measured_model import ALLOCATOR, REPOSITORY, SCRATCH
from benchmarks.workloads import MOST_CALLERS, WorkloadRequest, crowd, each_task

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
WARM_UP_ROUNDS = 4
"""12 short requests: BentoML's dispatcher needs 11 batches to learn how long one takes."""


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    command: tuple[str, ...]
    """The command, without the port."""
    ready_path: str
    environment: Mapping[str, str] = field(default_factory=lambda: ALLOCATOR)
    """Variables in addition to those that all servers get."""
    one_path: str | None = None
    """The path for requests of every task; None if each task has its own."""


_BENTOML = (str(Path(sys.executable).parent / "bentoml"), "serve")
PEERS_PYTHON = REPOSITORY / ".venv-peers" / "bin" / "python"
PEERS = REPOSITORY / "benchmarks" / "peers"


def _version(package: str) -> str:
    pins = (PEERS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return next(pin.partition("==")[2] for pin in pins if pin.startswith(package))


JUBAKO = Server("jubako", "Jubako", (*_BENTOML, "service:Jubako"), "/health", environment={})
PLAIN = Server(
    "plain",
    "FastAPI",
    (sys.executable, "-m", "uvicorn", "--no-access-log", "benchmarks.peers.plain:app"),
    "/health",
)
BENTO = Server("bentoml", "BentoML", (*_BENTOML, "benchmarks.peers.bento:Composer"), "/readyz")
LIT = Server(
    "litserve",
    f"LitServe {_version('litserve')}",
    (str(PEERS_PYTHON), "-m", "benchmarks.peers.lit"),
    "/health",
    one_path="/draw",
)
RAY = Server(
    "ray",
    f"Ray Serve {_version('ray')}",
    (str(PEERS_PYTHON), "-m", "benchmarks.peers.ray_serve"),
    "/health",
    environment={**ALLOCATOR, "PYTHONPATH": str(REPOSITORY), "RAY_USAGE_STATS_ENABLED": "0"},
)
SERVERS = {server.name: server for server in (JUBAKO, PLAIN, BENTO, LIT, RAY)}


@asynccontextmanager
async def serving(server: Server, environment: Mapping[str, str], size: tuple[int, int]) -> AsyncGenerator[Client]:
    """Run a server that is warmed up when the block begins, and stopped when it ends.

    Raises RuntimeError when it does not start or fails to generate; its output is in `scratch/NAME.log`.
    """
    async with _running(server, environment, size) as (client, _):
        yield client


@asynccontextmanager
async def taking_turns(
    server: Server, environment: Mapping[str, str], size: tuple[int, int]
) -> AsyncGenerator[Callable[[], AbstractContextManager[Client]]]:
    """Run such a server, suspended except in blocks of what this yields: an idle LitServe takes 15 % of a core."""
    async with _running(server, environment, size) as (client, process):
        processes = [process, *process.children(recursive=True)]
        _signal(processes, signal.SIGSTOP)

        @contextmanager
        def turn() -> Iterator[Client]:
            _signal(processes, signal.SIGCONT)
            try:
                yield client
            finally:
                _signal(processes, signal.SIGSTOP)

        try:
            yield turn
        finally:
            _signal(processes, signal.SIGCONT)


@asynccontextmanager
async def _running(
    server: Server, environment: Mapping[str, str], size: tuple[int, int]
) -> AsyncGenerator[tuple[Client, psutil.Popen]]:
    port = _free_port()
    process = _start(server, environment, port)
    try:
        async with Client(f"http://127.0.0.1:{port}", size, server.one_path) as client:
            await _until_ready(server, process, client)
            await _warm_up(server, client)
            yield client, process
    finally:
        await asyncio.to_thread(_stop, process)


def _signal(processes: Sequence[psutil.Process], number: signal.Signals) -> None:
    for each in processes:
        with suppress(psutil.NoSuchProcess):
            each.send_signal(number)


def _start(server: Server, environment: Mapping[str, str], port: int) -> psutil.Popen:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with _log(server).open("wb") as log:
        return psutil.Popen(
            [*server.command, "--port", str(port), "--host", "127.0.0.1"],
            cwd=REPOSITORY,
            # BentoML empties the folder of metrics in its home when it starts.
            env={**environment, **server.environment, "BENTOML_HOME": str(SCRATCH / "bentoml" / server.name)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _until_ready(server: Server, process: psutil.Popen, client: Client) -> None:
    give_up_at = time.monotonic() + START_TIMEOUT_S
    while not await _is_ready(client, server.ready_path):
        if process.poll() is not None or time.monotonic() > give_up_at:
            raise RuntimeError(f"{server.name} did not start; see {_log(server)}")
        await asyncio.sleep(0.2)


async def _is_ready(client: Client, path: str) -> bool:
    try:
        return await client.status(path) == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _warm_up(server: Server, client: Client) -> None:
    """Send short requests of every task, first one by one, then as many at once as in the benchmark."""
    await _draw_all(server, client, [*each_task(WARM_UP_ROUNDS)], callers=1)
    await _draw_all(server, client, [*crowd(2 * MOST_CALLERS)], callers=MOST_CALLERS)


async def _draw_all(server: Server, client: Client, wanted: list[WorkloadRequest], callers: int) -> None:
    for sample in await closed_loop(client, wanted, callers):
        if sample.error:
            raise RuntimeError(f"{server.name} cannot draw {sample.wanted.task}: {sample.error}; see {_log(server)}")


def _stop(process: psutil.Popen) -> None:
    """Terminate the server, then kill whatever is left of its child processes."""
    processes = [process]
    with suppress(psutil.NoSuchProcess):
        processes += process.children(recursive=True)
        process.send_signal(signal.SIGTERM)
    _, left = psutil.wait_procs(processes, STOP_TIMEOUT_S)
    for each in left:
        with suppress(psutil.NoSuchProcess):
            each.kill()
    psutil.wait_procs(left)


def _log(server: Server) -> Path:
    return SCRATCH / f"{server.name}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
