"""The server, as seen by this page's visitor: every call has the key that came with the browser's request."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import gradio as gr

from client.asynchronous import AsyncJubako
from client.calls import models
from client.connection import TIMEOUT_S, AsyncConnection
from ui.inside_client import InsideJubako

KEPT_CLIENTS = 64
"""How many callers' clients stay connected."""


class ServerClients:
    """Makes clients for one address, a separate one for each caller."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._clients = lru_cache(KEPT_CLIENTS)(lambda key: InsideJubako(address, key))
        self._connections = lru_cache(KEPT_CLIENTS)(lambda key: AsyncConnection(address, key, TIMEOUT_S))

    def client(self, request: gr.Request) -> AsyncJubako:
        """Return the client with the key that a request came with."""
        return self._clients(_key(request))

    def connection(self, request: gr.Request) -> AsyncConnection:
        """Return the same caller's connection, for calls without a method in the client (`client.calls.ApiCall`)."""
        return self._connections(_key(request))

    async def models(self, request: gr.Request) -> list[dict[str, Any]]:
        """Return the answer of `GET /models` to the caller. Raises Refused or Unreachable."""
        return [model.fields for model in await self.connection(request).send(models())]


def _key(request: gr.Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key if scheme.lower() == "bearer" and key else None
