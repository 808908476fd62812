"""A server that can be killed as a whole and started again."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.servers.forked import ServerProcess
from tests.support.servers.serving import free_port, serving_environment, start_server, stopped, wait_for
from tests.support.web import WEB

READY_TIMEOUT_S = 240.0


@dataclass
class Replica:
    """`environment` goes beyond the tests' usual one; a `fresh` one imports its libraries itself.

    One that is not may be on the network of a `namespace`.
    """

    catalogue: Path
    environment: Mapping[str, str]
    port: int = field(default_factory=free_port)
    service: str = "service:Jubako"
    host: str = "127.0.0.1"
    namespace: str | None = None
    fresh: bool = False
    _process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def start(self) -> None:
        self.begin()
        wait_for(self._ready, READY_TIMEOUT_S)

    def begin(self) -> None:
        """Start it, without waiting until it is ready."""
        arguments = ["serve", self.service, "--port", str(self.port)]
        environment = {**serving_environment(self.catalogue, self.port), "JUBAKO_MODELS": "tiny", **self.environment}
        log = self.catalogue.parent / f"log-{self.port}"
        self._process = start_server(arguments, environment, log, self.fresh, self.namespace)

    def kill(self) -> None:
        """As a power cut would: gateway, runners and all, at once."""
        if self._process is not None:
            top = psutil.Process(self._process.pid)
            # The processes of services have groups of their own, and would live on.
            for process in (top, *top.children(recursive=True)):
                process.kill()
            self._ended()

    def stop(self) -> None:
        """As an operator would."""
        if self._process is not None:
            self.ask_to_stop()
            self._ended()

    def ask_to_stop(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to the process that was started, and to no other."""
        assert self._process is not None
        self._process.send_signal(number)

    def stopped(self) -> int:
        """Wait for the end; return the exit status."""
        process = self._process
        assert process is not None
        self._ended()
        assert process.returncode is not None
        return process.returncode

    @property
    def pid(self) -> int:
        """The process that starts and stops the others."""
        assert self._process is not None
        return self._process.pid

    def runner_pid(self) -> int:
        """The process of the model."""
        pid: int = self.get("/health").json()["models"][0]["pid"]
        return pid

    @contextmanager
    def runner_stopped(self) -> Iterator[None]:
        """Have nothing drawn until the block ends; the model's process does not answer meanwhile."""
        with stopped(self.runner_pid()):
            yield

    def get(self, path: str) -> httpx.Response:
        return WEB.get(f"{self.url}{path}", timeout=60)

    def submit(self, **fields: Any) -> str:
        """Submit a text-to-image job; return its id."""
        answer = WEB.post(f"{self.url}/api/tiny/t2i", json={"prompt": "a red apple", **fields}, timeout=60)
        assert answer.status_code == 200, answer.text
        session_id: str = answer.json()["session_id"]
        return session_id

    def status(self, session_id: str) -> dict[str, Any]:
        body: dict[str, Any] = self.get(f"/api/{session_id}/status").json()
        return body

    def answers(self, path: str = "/livez") -> bool:
        """Whether it answers with success; it may do so before it is ready."""
        assert self._process is not None
        assert self._process.poll() is None, "the server ended; see its log"
        try:
            return self.get(path).status_code == 200
        except httpx.TransportError:
            return False

    def _ready(self) -> bool:
        return self.answers("/readyz")

    def _ended(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=60)
        self._process = None


@contextmanager
def replica(
    catalogue: Path, service: str = "service:Jubako", fresh: bool = False, /, **environment: str
) -> Iterator[Replica]:
    server = Replica(catalogue, environment, service=service, fresh=fresh)
    server.start()
    try:
        yield server
    finally:
        server.stop()
