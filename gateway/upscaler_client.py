"""The gateway's end of the hop to the upscaler."""

from __future__ import annotations

import asyncio
import time
from http.client import SERVICE_UNAVAILABLE, TOO_MANY_REQUESTS
from typing import Any

import aiohttp
from PIL import Image

from core.errors import Busy, GenerationFailed, LoadFailed
from core.generation.upscaling import FIELD
from processes.connection import CONNECT_TIMEOUT_S, open_session
from runners.upscaling.wire import SERVICE, AskedTile, decode_enlarged, encode_tile

ALIVE_TIMEOUT_S = 10.0
"""Connections are accepted also while the process restarts, which takes some seconds."""
LONGEST_S = 1800.0
"""Callers have deadlines of their own."""
RETRY_S = 5
PASSING = (TOO_MANY_REQUESTS, SERVICE_UNAVAILABLE)
_FRAME, _JSON = {"Content-Type": "application/octet-stream"}, {"Content-Type": "application/json"}


class UpscalerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._url = url
        self._session: aiohttp.ClientSession | None = None
        self._loading = asyncio.Lock()
        self._loaded = False
        """As far as it was heard of."""
        self._refused_at_s, self._reason = float("-inf"), ""
        """When the model could not be loaded, and why: other tiles need not see it fail again."""

    async def enlarged(self, tile: AskedTile) -> Image.Image:
        """Return what a tile becomes.

        Raises Busy when the upscaler does not answer, LoadFailed, which says what the operator can do, and
        GenerationFailed when the model fails on a tile.
        """
        async with self._loading:
            if not self._loaded:
                await self._load()
        pixels = await self._ask("enlarge", encode_tile(tile))
        return decode_enlarged(pixels, tile)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def _load(self) -> None:
        if time.monotonic() - self._refused_at_s < RETRY_S:
            raise LoadFailed(self._reason)
        answer: dict[str, str] = await self._ask("load", None)
        if "refused" in answer:
            self._refused_at_s = time.monotonic()
            self._reason = f"{FIELD}: the upscaling model cannot be loaded: {answer['refused']}"
            raise LoadFailed(self._reason)
        self._loaded = True

    async def _ask(self, api: str, frame: bytes | None) -> Any:
        if self._session is None:
            self._session = open_session(self._url, SERVICE)
        timeout = aiohttp.ClientTimeout(LONGEST_S, sock_connect=CONNECT_TIMEOUT_S)
        body, headers = (b"{}", _JSON) if frame is None else (frame, _FRAME)
        try:
            if not self._loaded:
                await self._check(self._session)
            async with self._session.post(
                f"/{api}", data=body, headers=headers, timeout=timeout, raise_for_status=True
            ) as response:
                return await (response.json() if frame is None else response.read())
        except aiohttp.ClientResponseError as error:
            if error.status in PASSING:
                raise Busy("images cannot be upscaled now; try again later", RETRY_S) from error
            # The same tile would fail again, after the image was generated again.
            raise GenerationFailed("the upscaling model failed") from error
        except (aiohttp.ClientError, TimeoutError) as error:
            self._loaded = False
            raise Busy("images cannot be upscaled now; try again later", RETRY_S) from error

    async def _check(self, session: aiohttp.ClientSession) -> None:
        async with session.get("/livez", timeout=aiohttp.ClientTimeout(ALIVE_TIMEOUT_S), raise_for_status=True):
            pass
