"""What no client library sends."""

from __future__ import annotations

import json
from http.client import HTTPResponse
from socket import create_connection, socket
from typing import Any
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


def asking(url: str, path: str, body: dict[str, Any]) -> socket:
    """Post JSON, and return the connection on which the answer will come."""
    data = json.dumps(body).encode()
    connection = opened(url)
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\nContent-Length: {len(data)}"
    connection.sendall(f"{head}\r\n\r\n".encode() + data)
    return connection


def answer_on(connection: socket) -> HTTPResponse:
    """Wait for the answer that comes on a connection."""
    answer = HTTPResponse(connection)
    answer.begin()
    return answer
