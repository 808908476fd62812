"""A desk on each ledger, with an engine of a tiny model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jobs.desk.desk import JobDesk
from runners.engine.engine import Engine
from settings import Settings
from storage.client import Storage, open_storage
from tests.support.engine.engines import engine, tiny_model
from tests.support.engine.job_desk import EngineProducer, job_desk
from tests.support.surroundings.redis_server import RedisServer, redis_server

__all__ = ["engine", "tiny_model"]


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(Settings(storage=f"file://{tmp_path / 'files'}"))


@pytest.fixture(params=["embedded", "redis"])
async def desk(
    request: pytest.FixtureRequest, engine: Engine, tmp_path: Path, redis: RedisServer, storage: Storage
) -> AsyncIterator[JobDesk]:
    url = redis.url if request.param == "redis" else None
    async with job_desk(EngineProducer(engine), tmp_path, url, storage) as desk:
        yield desk
