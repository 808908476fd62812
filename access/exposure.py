"""The warning that anyone can use a server."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address

log = logging.getLogger("jubako.access")

SOCKET_OPTION = "--fd"
"""The option by which BentoML's supervisor passes a socket that it has opened to a serving process."""


def warn_if_exposed(host: str | None, closed: bool) -> None:
    """Log a warning if a server without keys listens on a `host` that other machines can reach."""
    if host is not None and not closed and not _is_loopback(host):
        log.warning("this server listens on %s without API keys: all who reach it may use it (docs/access.md)", host)


def served_host(arguments: Sequence[str]) -> str | None:
    """Return the address that this process listens on, given its command line; None if it was handed no such socket."""
    if SOCKET_OPTION not in arguments:
        return None
    number = int(arguments[arguments.index(SOCKET_OPTION) + 1])
    with socket.socket(fileno=os.dup(number)) as listener:
        address = listener.getsockname()
    return str(address[0]) if isinstance(address, tuple) else None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
