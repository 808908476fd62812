"""HTTP without TLS, also for `tools/`, which have no conftest. httpx otherwise reads all certificates for each client,
even for each `httpx.get`, in 50 ms of CPU; what polls would spend most of its time on that.
"""

from __future__ import annotations

import httpx

TIMEOUT_S = 120.0

# Servers come and go here: a connection kept alive might be one of a server that has ended.
WEB = httpx.Client(verify=False, timeout=TIMEOUT_S, limits=httpx.Limits(max_keepalive_connections=0))
"""For single requests to whatever address; threads may share it."""


def client_of(url: str, timeout_s: float = TIMEOUT_S) -> httpx.Client:
    """Return a client of one server."""
    return httpx.Client(base_url=url, verify=False, timeout=timeout_s)
