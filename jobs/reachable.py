"""Redis' own errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from redis.exceptions import RedisError

from jobs.errors import LedgerUnavailable


@contextmanager
def reachable() -> Iterator[None]:
    """Raise LedgerUnavailable for whatever goes wrong between us and Redis."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise LedgerUnavailable("Redis does not answer; try again later") from error
