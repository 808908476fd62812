"""The hop to a BentoML service that loads what it needs on first use."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import partial
from http.client import SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS

import aiohttp

from core.errors import Busy, GenerationFailed, JubakoError, LoadFailed, LoadInterrupted
from processes.service_session import CONNECT_TIMEOUT_S, open_session

ALIVE_TIMEOUT_S = 10.0
"""Connections are accepted even while the process restarts, which takes some seconds."""
LOAD_TIMEOUT_S = 1800.0
"""OpenAI's CLIP is 1.7 GB to fetch."""
RETRY_S = 5
PASSING = (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE)
REFUSED, INTERRUPTED = "refused", "interrupted"
"""Fields of an answer to `load`: why something cannot be loaded, or cannot be loaded now."""
JSON, FRAME = {"Content-Type": "application/json"}, {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Messages:
    """Error messages for callers."""

    away: str
    """When the service does not answer."""
    not_loaded: str
    """When it cannot load; the service's own reason follows."""
    failed: str | None = None
    """When it answers that it has failed; None treats that like no answer."""


async def answer_to_load(loading: Awaitable[object]) -> dict[str, str]:
    """Await `loading`; return the service's answer to `load`, which says why it failed, if it did."""
    try:
        await loading
    except LoadInterrupted as error:
        return {INTERRUPTED: error.message}
    except JubakoError as error:
        return {REFUSED: error.message}
    return {}


class LoadingService:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str, name: str, messages: Messages) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._url, self._name, self._messages = url, name, messages
        self._session: aiohttp.ClientSession | None = None
        self._loading = asyncio.Lock()
        self._loaded: set[Hashable] = set()
        """What the service is known to have loaded."""
        self._failed: dict[Hashable, tuple[float, Callable[[], JubakoError]]] = {}
        """When and why something could not be loaded, so that other requests need not wait for it to fail again."""

    async def load(self, what: Hashable, body: bytes = b"{}") -> None:
        """Make sure that something is loaded; `body` asks the service for it in JSON.

        Loading has a time limit of its own, longer than any request's. Raises Busy when the service does not answer,
        LoadInterrupted when it cannot load now, and LoadFailed, which says what the operator can do.
        """
        async with self._loading:
            if what not in self._loaded:
                await self._load(what, body)

    async def ask(self, api: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> bytes:
        """Return an answer of one of the service's APIs. Raises Busy, or GenerationFailed if that has a message."""
        if self._session is None:
            self._session = open_session(self._url, self._name)
        timeout = aiohttp.ClientTimeout(timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            if not self._loaded:
                await self._check(self._session)
            async with self._session.post(
                f"/{api}", data=body, headers=headers, timeout=timeout, raise_for_status=True
            ) as response:
                return await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            answered = isinstance(error, aiohttp.ClientResponseError) and error.status not in PASSING
            if answered and self._messages.failed is not None:
                # A retry would repeat all the work before this, only to fail again.
                raise GenerationFailed(self._messages.failed) from error
            self._loaded.clear()
            raise Busy(self._messages.away, RETRY_S) from error

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _load(self, what: Hashable, body: bytes) -> None:
        if what in self._failed and time.monotonic() - self._failed[what][0] < RETRY_S:
            raise self._failed[what][1]()
        answer: dict[str, str] = json.loads(await self.ask("load", body, JSON, LOAD_TIMEOUT_S))
        failed: Callable[[], JubakoError]
        if INTERRUPTED in answer:
            failed = partial(LoadInterrupted, f"{self._messages.not_loaded}: {answer[INTERRUPTED]}", RETRY_S)
        elif REFUSED in answer:
            failed = partial(LoadFailed, f"{self._messages.not_loaded}: {answer[REFUSED]}")
        else:
            self._loaded.add(what)
            return
        self._failed[what] = time.monotonic(), failed
        raise failed()

    async def _check(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/livez", timeout=aiohttp.ClientTimeout(ALIVE_TIMEOUT_S), raise_for_status=True):
            pass
