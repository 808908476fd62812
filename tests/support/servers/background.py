"""Programs that a test starts, may stop and start again, and ends."""

from __future__ import annotations

import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.servers.serving import free_port, wait_for


@dataclass
class Background(ABC):
    """A server, by default on loopback, that keeps its data in `folder`, so that nothing is lost between two starts."""

    folder: Path
    port: int = field(default_factory=free_port)
    host: str = "127.0.0.1"
    _process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """Return the program and its options."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it has started."""

    def start(self) -> None:
        output = subprocess.DEVNULL
        self._process = subprocess.Popen(self.command(), stdout=output, stderr=output)
        wait_for(self.answers)

    def stop(self) -> None:
        """As a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @contextmanager
    def running(self) -> Iterator[None]:
        self.start()
        try:
            yield
        finally:
            self.stop()
