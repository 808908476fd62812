"""The hop to a BentoML service that loads what it needs when it is first asked for it."""

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
from processes.connection import CONNECT_TIMEOUT_S, open_session

ALIVE_TIMEOUT_S = 10.0
"""Connections are accepted also while the process restarts, which takes some seconds."""
LOAD_TIMEOUT_S = 1800.0
"""OpenAI's CLIP is 1.7 GB to fetch."""
RETRY_S = 5
PASSING = (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE)
REFUSED, INTERRUPTED = "refused", "interrupted"
"""Of an answer to `load`: why something cannot be loaded, or cannot be now."""
JSON, FRAME = {"Content-Type": "application/json"}, {"Content-Type": "application/octet-stream"}


@dataclass(frozen=True)
class Messages:
    """Those that callers see."""

    away: str
    """While the service does not answer."""
    not_loaded: str
    """Before the service's own reason."""
    failed: str | None = None
    """When it answers that it failed; by default that is taken for being away."""


async def answer_to_load(loading: Awaitable[object]) -> dict[str, str]:
    """Return what the service answers to `load` when it has loaded something, or has tried."""
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
        """What the service has, as far as it was heard of."""
        self._failed: dict[Hashable, tuple[float, Callable[[], JubakoError]]] = {}
        """When something could not be loaded, and why: other requests need not see it fail again."""

    async def load(self, what: Hashable, body: bytes = b"{}") -> None:
        """See to it that something is loaded, which `body` asks for in JSON.

        Loading takes longer than any request, so none has to wait for it within its own time. Raises Busy when the
        service does not answer, LoadInterrupted where it cannot load now, and LoadFailed, which says what the operator
        can do.
        """
        async with self._loading:
            if what not in self._loaded:
                await self._load(what, body)

    async def ask(self, api: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> bytes:
        """Return the answer of one of its APIs. Raises Busy, or GenerationFailed where there is a message for that."""
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
                # It would fail again, after all that led to it had been done again.
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
