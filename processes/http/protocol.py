"""Connections that end when their client stalls; uvicorn itself bounds only the pause between two requests.

`bentoml serve` has no option for this, so the protocols are put into uvicorn's tables before BentoML makes its server.
Clients on a Unix socket are processes of this server, and are trusted.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.types import Scope
from uvicorn.config import HTTP_PROTOCOLS, WS_PROTOCOLS
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from settings import settings

_PEER = "jubako.peer"
FLUSH_S = 2.0
"""How long a server that shuts down waits for clients to read more of what was sent to them."""


def peer_of(scope: Scope) -> str | None:
    """Return the address that a connection comes from, even if a proxy forwards another client's."""
    peer: str | None = scope.get("state", {}).get(_PEER)
    return peer


class HeadInTime(H11Protocol):
    """HTTP; closes a connection whose client takes too long to send a request's headers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._bound_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._bound_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    @property
    def _awaits_head(self) -> bool:
        idle = self.cycle is None or self.cycle.response_complete
        # After an upgrade, the transport belongs to the WebSocket's protocol.
        return idle and self.transport.get_protocol() is self

    def _bound_head(self) -> None:
        if not self._awaits_head:
            self._stop_timer()
        elif self._head_timer is None and self.client is not None:
            self._head_timer = self.loop.call_later(settings().client_timeout_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._head_timer = None
        if self._awaits_head:
            self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class _ReadInTime(asyncio.Protocol):
    """Protocol mixin: aborts a connection whose client reads nothing for too long.

    It also keeps the address that a connection comes from, since uvicorn replaces it by what a trusted proxy says.
    """

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    client: tuple[str, int] | None
    app_state: dict[str, Any]
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.app_state = {**self.app_state, _PEER: self.client and self.client[0]}

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.client is not None:
            self._watch_reading(settings().client_timeout_s)

    def resume_writing(self) -> None:
        self._stop_reading_timer()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_reading_timer()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        super().shutdown()  # type: ignore[misc]  # uvicorn's protocols have it
        self._watch_reading(FLUSH_S)

    def _watch_reading(self, seconds: float) -> None:
        """Abort the connection if nothing has been read after so many seconds; else check again."""
        self._stop_reading_timer()
        unread_bytes = self.transport.get_write_buffer_size()
        self._read_timer = self.loop.call_later(seconds, self._abort_if_stalled, seconds, unread_bytes)

    def _abort_if_stalled(self, seconds: float, unread_bytes: int) -> None:
        if self.transport.get_write_buffer_size() < unread_bytes:
            self._watch_reading(seconds)
        else:
            self.transport.abort()

    def _stop_reading_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None


class BoundedHttp(_ReadInTime, HeadInTime):
    """HTTP for clients that are not trusted."""


class BoundedWebSocket(_ReadInTime, WebSocketsSansIOProtocol):
    """The same for WebSockets; uvicorn's pings find clients that are gone."""


def bound_clients() -> None:
    """Have servers in this process end connections of clients that stall in sending or reading."""
    _enter(BoundedHttp)
    WS_PROTOCOLS["auto"] = f"{__name__}:{BoundedWebSocket.__name__}"


def bound_gateways() -> None:
    """The same for a runner, but for sending only: gateways may stop reading while they encode what they have read."""
    _enter(HeadInTime)


def _enter(protocol: type[H11Protocol]) -> None:
    HTTP_PROTOCOLS["auto"] = f"{__name__}:{protocol.__name__}"
