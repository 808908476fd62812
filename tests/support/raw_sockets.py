"""What no client library sends."""

from __future__ import annotations

from socket import create_connection, socket
from urllib.parse import urlsplit

TIMEOUT_S = 60.0


def opened(url: str) -> socket:
    """Connect to the server of an address."""
    parts = urlsplit(url)
    return create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S)


def said_to(url: str, sent: bytes) -> bytes:
    """Return all that a server says to some bytes until it closes the connection."""
    with opened(url) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(2**16), b""))
