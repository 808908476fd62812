"""Rate limits on what each caller requested in the last minute, counted here or, across replicas, in Redis."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from math import ceil

from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage, Storage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from limits.storage import storage_from_string

from core.caller import Caller, Rates, current_caller
from core.errors import InvalidRequest, RateExceeded
from core.generation.request import GenerationRequest, Method

log = logging.getLogger("jubako.access")

REDIS_TIMEOUT_S = 1.0
PX_PER_UNIT = 10_000
"""Pixels are counted in hundredths of megapixels, rounded up: the window keeps an entry for each unit."""
UNITS_PER_MEGAPIXEL = 1_000_000 // PX_PER_UNIT

_FIELDS = {"requests": "requests", "megapixels": "width", "steps": "num_inference_steps"}
"""The field to reduce when a single request exceeds a limit."""


@dataclass(frozen=True)
class Limit:
    """One of a caller's limits, in the units in which it is counted."""

    what: str
    """`requests`, `megapixels` or `steps`, as in the headers."""
    item: RateLimitItemPerMinute
    units: int
    """How many units make 1 in the headers."""

    def shown(self, amount: int) -> str:
        return f"{amount / self.units:g}"


def limits_of(rates: Rates) -> Iterator[Limit]:
    """Yield the limits that a caller has."""
    if rates.requests_per_min is not None:
        yield Limit("requests", RateLimitItemPerMinute(rates.requests_per_min), 1)
    if rates.megapixels_per_min is not None:
        units = round(rates.megapixels_per_min * UNITS_PER_MEGAPIXEL)
        yield Limit("megapixels", RateLimitItemPerMinute(units), UNITS_PER_MEGAPIXEL)
    if rates.steps_per_min is not None:
        yield Limit("steps", RateLimitItemPerMinute(rates.steps_per_min), 1)


class RateLimiter:
    """Counts in moving windows. While Redis is unreachable, nobody is limited."""

    def __init__(self, redis: str | None) -> None:
        """`redis` is the URL of a Redis; without one, this process counts on its own."""
        self._window = MovingWindowRateLimiter(_storage(redis))

    async def count_request(self, caller: Caller) -> None:
        """Count one request. Raises RateExceeded."""
        await self._count(caller, requests=1)

    async def count_further(self, requests: int) -> None:
        """Count requests that the door did not, such as those of a batch. Raises RateExceeded or InvalidRequest."""
        if requests:
            await self._count(current_caller(), requests=requests)

    async def charge(self, request: GenerationRequest, other_px: int = 0) -> None:
        """Count a request's pixels and steps against the current caller's limits.

        `other_px` are pixels decoded or encoded in addition. Raises RateExceeded, InvalidRequest when the request alone
        exceeds a minute's limit, or Forbidden when the caller may not have its priority.
        """
        caller = current_caller()
        caller.check_priority(request.priority)
        pixels = request.generated_px + other_px
        steps = request.iterations if request.method is Method.TOKEN_OPT else request.denoising_steps
        await self._count(caller, megapixels=ceil(pixels / PX_PER_UNIT), steps=steps * request.num_images)

    async def charge_pixels(self, field: str, pixels: int) -> None:
        """Count pixels that are decoded and encoded for the current caller without a model.

        Raises RateExceeded, or InvalidRequest for the field when they alone exceed a minute's limit.
        """
        await self._count(current_caller(), {**_FIELDS, "megapixels": field}, megapixels=ceil(pixels / PX_PER_UNIT))

    async def headers(self, caller: Caller) -> dict[str, str]:
        """Return a caller's limits as headers, named as in OpenAI's API."""
        headers = {}
        for limit in limits_of(caller.rates):
            left, reset_s = await self._left(caller, limit)
            headers[f"x-ratelimit-limit-{limit.what}"] = limit.shown(limit.item.amount)
            headers[f"x-ratelimit-remaining-{limit.what}"] = limit.shown(left)
            headers[f"x-ratelimit-reset-{limit.what}"] = f"{reset_s}s"
        return headers

    async def _count(self, caller: Caller, fields: Mapping[str, str] = _FIELDS, **costs: int) -> None:
        """Count all of these or none: a request that one limit refuses must not use up another."""
        limits = [limit for limit in limits_of(caller.rates) if limit.what in costs]
        for limit in limits:
            cost, most = costs[limit.what], limit.item.amount
            if cost > most:
                reason = (
                    f"the request has {limit.shown(cost)} {limit.what}; this key may have {limit.shown(most)} a minute"
                )
                raise InvalidRequest(fields[limit.what], reason)
        for attempt in (self._window.test, self._window.hit):
            for limit in limits:
                if not await self._fits(attempt, caller, limit, costs[limit.what]):
                    _, reset_s = await self._left(caller, limit)
                    reason = f"more than {limit.shown(limit.item.amount)} {limit.what} a minute; try again later"
                    raise RateExceeded(reason, max(1, reset_s))

    async def _fits(self, attempt: Callable[..., Awaitable[bool]], caller: Caller, limit: Limit, cost: int) -> bool:
        try:
            return await attempt(limit.item, limit.what, caller.name, cost=cost)
        except StorageError as error:
            log.warning("rates are not counted: Redis does not answer (%s)", error.storage_error)
            return True

    async def _left(self, caller: Caller, limit: Limit) -> tuple[int, int]:
        """Return the units left, and the seconds until there are more."""
        try:
            stats = await self._window.get_window_stats(limit.item, limit.what, caller.name)
        except StorageError:
            return limit.item.amount, 0
        full = stats.remaining >= limit.item.amount
        return stats.remaining, 0 if full else ceil(stats.reset_time - time.time())


def _storage(redis: str | None) -> Storage:
    if redis is None:
        storage = storage_from_string("async+memory://")
    else:
        # `limits` names the scheme of sockets differently from redis-py.
        url = redis.replace("unix://", "redis+unix://", 1) if redis.startswith("unix://") else redis
        storage = RedisStorage(
            f"async+{url}",
            wrap_exceptions=True,
            implementation="redispy",
            key_prefix="jubako:rates",
            socket_timeout=REDIS_TIMEOUT_S,
            socket_connect_timeout=REDIS_TIMEOUT_S,
        )
    assert isinstance(storage, Storage)
    return storage
