"""The gateway's end of the hop to a runner service.

BentoML's own proxy is made for short calls: when a stream is closed early it leaves the connection open, so the
runner draws on; it lets 100 calls through at a time, so the runner never sees how many wait; and after every 100 calls
it closes all connections, with the streams that are still on them.
"""

from __future__ import annotations

import pickle
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from errors import Busy, GenerationFailed
from models.request import GenerationRequest
from runners.events import Event
from runners.wire import read_events

CONNECT_TIMEOUT_S = 10.0
STATE_TIMEOUT_S = 2.0
"""A runner that loads its model does not answer; whoever asks how it is should not wait until it does."""
RESTART_S = 5
"""What a caller is told to wait when a runner's process is not there: about one restart."""
_PICKLE = {"Content-Type": "application/vnd.bentoml+pickle"}


class RunnerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, model: str, url: str) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._model = model
        self._url = urlsplit(url)
        self._opened: aiohttp.ClientSession | None = None

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        """Yield what happens to a request; closing the generator cancels it.

        Raises Busy when the runner is not there, and GenerationFailed when it breaks off.
        """
        body = pickle.dumps({"request": request})
        try:
            async with (
                self._session.post("/generate", data=body, headers=_PICKLE, raise_for_status=True) as response,
                aclosing(read_events(response.content.iter_any())) as happenings,
            ):
                async for event in happenings:
                    yield event
        except aiohttp.ClientConnectorError as error:
            raise Busy(f"{self._model} is starting; try again later", RESTART_S) from error
        except (aiohttp.ClientError, EOFError) as error:
            raise GenerationFailed("the model stopped before the picture was done") from error

    async def state(self) -> dict[str, Any]:
        """Return what the runner says about itself; `loading` while it does not answer, `failed` when it cannot."""
        try:
            timeout = aiohttp.ClientTimeout(STATE_TIMEOUT_S)
            async with self._session.post("/state", json={}, timeout=timeout, raise_for_status=True) as response:
                state: dict[str, Any] = await response.json()
                return state
        except (TimeoutError, aiohttp.ClientConnectionError):
            return {"model": self._model, "state": "loading"}
        except aiohttp.ClientResponseError:
            return {"model": self._model, "state": "failed"}

    async def close(self) -> None:
        if self._opened is not None:
            await self._opened.close()

    @property
    def _session(self) -> aiohttp.ClientSession:
        if self._opened is None:
            # The runner bounds its waiting line and each request has its deadline; no limit of ours adds to that.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
            self._opened = aiohttp.ClientSession(
                self._base_url, connector=self._make_connector(), timeout=timeout, read_bufsize=2**20
            )
        return self._opened

    @property
    def _base_url(self) -> str:
        return "http://runner" if self._url.scheme == "file" else self._url.geturl()

    def _make_connector(self) -> aiohttp.BaseConnector:
        if self._url.scheme == "file":
            return aiohttp.UnixConnector(self._url.path, limit=0)
        return aiohttp.TCPConnector(limit=0)
