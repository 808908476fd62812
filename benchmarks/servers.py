"""The three servers as subprocesses: started on a free loopback port, awaited, warmed up, stopped by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from benchmarks.client import Client
from benchmarks.subject import REPOSITORY, SCRATCH
from benchmarks.workloads import each_task

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 15.0
WARM_UP_ROUNDS = 4
"""12 short requests: BentoML's dispatcher needs 11 batches to learn how long one takes."""


@dataclass(frozen=True)
class Server:
    name: str
    title: str
    command: tuple[str, ...]
    """Without the port."""
    ready_path: str


_BIN = Path(sys.executable).parent
_BENTOML = (str(_BIN / "bentoml"), "serve")
PLAIN = Server(
    "plain",
    "FastAPI + diffusers",
    (sys.executable, "-m", "uvicorn", "--no-access-log", "benchmarks.plain_server:app"),
    "/health",
)
BATCHABLE = Server("batchable", "BentoML batchable", (*_BENTOML, "benchmarks.batchable_service:Composer"), "/readyz")
JUBAKO = Server("jubako", "Jubako", (*_BENTOML, "service:Jubako"), "/health")
SERVERS = (PLAIN, BATCHABLE, JUBAKO)


@asynccontextmanager
async def serving(server: Server, environment: Mapping[str, str], size: tuple[int, int]) -> AsyncGenerator[Client]:
    """Run a server that is warmed up when the block begins, and stopped when it ends.

    Raises RuntimeError when it does not start or fails to generate; its output is in `scratch/NAME.log`.
    """
    port = _free_port()
    process = _start(server, environment, port)
    try:
        async with Client(f"http://127.0.0.1:{port}", size) as client:
            await _until_ready(server, process, client)
            await _warm_up(server, client)
            yield client
    finally:
        await asyncio.to_thread(_stop, process)


def _start(server: Server, environment: Mapping[str, str], port: int) -> subprocess.Popen[bytes]:
    SCRATCH.mkdir(parents=True, exist_ok=True)
    with _log(server).open("wb") as log:
        return subprocess.Popen(
            [*server.command, "--port", str(port), "--host", "127.0.0.1"],
            cwd=REPOSITORY,
            env=dict(environment),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


async def _until_ready(server: Server, process: subprocess.Popen[bytes], client: Client) -> None:
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
    for wanted in each_task(WARM_UP_ROUNDS):
        sample = await client.draw(wanted)
        if sample.error:
            raise RuntimeError(f"{server.name} cannot draw {wanted.task}: {sample.error}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Terminate the server, then kill what is left of its own process group."""
    process.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _log(server: Server) -> Path:
    return SCRATCH / f"{server.name}.log"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
