"""Connections to Redis, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from jobs.errors import LedgerUnavailable

MAX_CONNECTIONS = 32
"""Connections of one client. Redis runs one command at a time, so more would only wait there; and since the pool never
closes any, a stall would leave one behind for every waiting command."""
FREE_CONNECTION_S = 5.0
"""How long a command waits for a free connection."""
HEALTH_CHECK_S = 15


def connect(url: str) -> Any:
    """Return a client. It is untyped, since redis-py's types cover every way in which it may be configured.

    A connection that went stale while idle is replaced without an error.
    """
    pool = BlockingConnectionPool.from_url(
        url, max_connections=MAX_CONNECTIONS, timeout=FREE_CONNECTION_S, **_options()
    )
    return Redis.from_pool(pool)


def connect_alone(url: str) -> Any:
    """Return a client with a single connection, for commands that wait in Redis; closing the client closes that."""
    return Redis.from_url(url, single_connection_client=True, **_options())


def _options() -> dict[str, Any]:
    return {
        "decode_responses": True,
        "health_check_interval": HEALTH_CHECK_S,
        "retry": Retry(ExponentialBackoff(base=0.01), 3),
        "retry_on_error": [RedisConnectionError],
    }


@contextmanager
def reachable() -> Iterator[None]:
    """Turn any error in talking to Redis into LedgerUnavailable."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise LedgerUnavailable("Redis does not answer; try again later") from error
