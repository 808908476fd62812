"""Connections from the gateway to the processes of BentoML services, which listen on a port or a Unix socket."""

from __future__ import annotations

import socket
from urllib.parse import urlsplit

import aiohttp
from aiohttp import AddrInfoType

CONNECT_TIMEOUT_S = 10.0
SILENCE_S = 10
"""Silence on a connection after which keep-alive probes ask whether the other machine is there."""
ASK_EVERY_S = 5
ASK_TIMES = 3
IDLE_S = 3.0
"""How long an idle connection is kept: less than the 5 s after which BentoML's workers close theirs, since a request
sent at that moment is lost."""


def open_session(url: str, service: str, key: str | None = None) -> aiohttp.ClientSession:
    """Return a session for the running event loop; `url` is `http://host:port` or `file:///path`.

    On BentoCloud, all services of a Bento share one address, and the header `Runner-Name` selects one.
    """
    parts = urlsplit(url)
    # No limit here: runners bound their own queues, and each request has its deadline.
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(parts.path, limit=0, keepalive_timeout=IDLE_S)
        if parts.scheme == "file"
        else aiohttp.TCPConnector(limit=0, keepalive_timeout=IDLE_S, socket_factory=_kept_alive)
    )
    base_url = "http://runner" if parts.scheme == "file" else url
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    headers = {"Runner-Name": service} | ({} if key is None else {"Authorization": f"Bearer {key}"})
    return aiohttp.ClientSession(base_url, connector=connector, timeout=timeout, headers=headers, read_bufsize=2**20)


def _kept_alive(address: AddrInfoType) -> socket.socket:
    """Make a socket that notices even on a silent stream when the other machine is gone, as after a power cut."""
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, SILENCE_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, ASK_EVERY_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, ASK_TIMES)
    return made
