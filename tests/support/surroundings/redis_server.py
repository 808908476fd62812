"""A real `redis-server` for tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.support.servers.background import Background

PASSWORD = "a-password-of-redis"


class RedisServer(Background):
    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@{self.host}:{self.port}/0"

    def command(self) -> Sequence[str | Path]:
        program = shutil.which("redis-server")
        assert program is not None, "install redis-server (Debian package of that name)"
        options = [
            "--port",
            str(self.port),
            "--bind",
            self.host,
            "--dir",
            str(self.folder),
            "--requirepass",
            PASSWORD,
        ]
        return [program, *options, "--save", "", "--appendonly", "yes", "--appendfsync", "always"]

    def answers(self) -> bool:
        try:
            return bool(redis.Redis.from_url(self.url).ping())
        except redis.exceptions.ConnectionError:
            return False


@contextmanager
def redis_server(folder: Path) -> Iterator[RedisServer]:
    server = RedisServer(folder)
    with server.running():
        yield server
