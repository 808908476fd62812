"""Connections from the gateway to the processes of BentoML services, which listen on a port or a Unix socket."""

from __future__ import annotations

from urllib.parse import urlsplit

import aiohttp

CONNECT_TIMEOUT_S = 10.0


def open_session(url: str) -> aiohttp.ClientSession:
    """Return a session of the running event loop; `url` is `http://host:port` or `file:///path`."""
    parts = urlsplit(url)
    # A runner bounds its waiting line and each request has its deadline; no limit of ours adds to that.
    connector: aiohttp.BaseConnector = (
        aiohttp.UnixConnector(parts.path, limit=0) if parts.scheme == "file" else aiohttp.TCPConnector(limit=0)
    )
    base_url = "http://runner" if parts.scheme == "file" else url
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S)
    return aiohttp.ClientSession(base_url, connector=connector, timeout=timeout, read_bufsize=2**20)
