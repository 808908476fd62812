"""The gateway's end of the hop to the scorer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any

import aiohttp

from core.errors import Busy, LoadFailed
from models.catalogue.sources import Source
from processes.connection import CONNECT_TIMEOUT_S, open_session
from storyboard.scoring.pairs import Pair
from storyboard.scoring.wire import encode_asked

TIMEOUT_S = 60.0
ALIVE_TIMEOUT_S = 10.0
"""Connections are accepted also while the process restarts, which takes some seconds."""
LOAD_TIMEOUT_S = 1800.0
"""OpenAI's CLIP is 1.7 GB to fetch."""
RETRY_S = 5
_FRAME, _JSON = {"Content-Type": "application/octet-stream"}, {"Content-Type": "application/json"}


class ScorerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._loading = asyncio.Lock()
        self._loaded: set[Source] = set()
        """What the scorer has, as far as it was heard of."""
        self._refused: dict[Source, tuple[float, str]] = {}
        """When a CLIP could not be loaded, and why: the other frames of a story need not see it fail again."""

    async def compare(self, source: Source, pair: Pair) -> float:
        """Return the cosine of a pair by a CLIP, -1 to 1.

        Raises Busy when the scorer does not answer, and LoadFailed, which says what the operator can do.
        """
        async with self._loading:
            if source not in self._loaded:
                await self._load(source)
        body = await asyncio.to_thread(encode_asked, source, pair)
        cosines: list[float] = await self._ask("cosines", body, _FRAME, TIMEOUT_S)
        return cosines[0]

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _load(self, source: Source) -> None:
        """Loading takes longer than any comparison, so none has to wait for it within its own time."""
        failed_at_s, reason = self._refused.get(source, (float("-inf"), ""))
        if time.monotonic() - failed_at_s < RETRY_S:
            raise LoadFailed(reason)
        body = json.dumps({"source": source.model_dump(mode="json")}).encode()
        answer: dict[str, str] = await self._ask("load", body, _JSON, LOAD_TIMEOUT_S)
        if "refused" in answer:
            reason = f"frames cannot be compared with their prompts: {answer['refused']}"
            self._refused[source] = (time.monotonic(), reason)
            raise LoadFailed(reason)
        self._loaded.add(source)

    async def _ask(self, api: str, body: bytes, headers: Mapping[str, str], timeout_s: float) -> Any:
        if self._session is None:
            self._session = open_session(self._url, "runner-scorer")
        timeout = aiohttp.ClientTimeout(timeout_s, sock_connect=CONNECT_TIMEOUT_S)
        try:
            if not self._loaded:
                await self._check(self._session)
            async with self._session.post(
                f"/{api}", data=body, headers=headers, timeout=timeout, raise_for_status=True
            ) as response:
                return await response.json()
        except (aiohttp.ClientError, TimeoutError) as error:
            self._loaded.clear()
            raise Busy("frames cannot be compared with their prompts now; try again later", RETRY_S) from error

    async def _check(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/livez", timeout=aiohttp.ClientTimeout(ALIVE_TIMEOUT_S), raise_for_status=True):
            pass
