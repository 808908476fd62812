"""Connections to Redis, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from jobs.errors import LedgerUnavailable

MAX_CONNECTIONS = 10_000
"""Everyone who watches a job over Redis holds a connection."""
HEALTH_CHECK_S = 15


def connect(url: str) -> Any:
    """Return a client, untyped, as redis-py types its answers for every way in which it may be configured.

    A connection that went stale while idle is replaced without an error.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        max_connections=MAX_CONNECTIONS,
        health_check_interval=HEALTH_CHECK_S,
        retry=Retry(ExponentialBackoff(base=0.01), 3),
        retry_on_error=[RedisConnectionError],
    )


@contextmanager
def reachable() -> Iterator[None]:
    """Raise LedgerUnavailable for whatever goes wrong between us and Redis."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise LedgerUnavailable("Redis does not answer; try again later") from error
