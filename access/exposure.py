"""The warning that everybody may use a server."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Sequence
from ipaddress import ip_address

log = logging.getLogger("jubako.access")

SOCKET_OPTION = "--fd"
"""How BentoML's supervisor names the socket that it opened, in the command line of a process that serves."""


def warn_if_exposed(host: str | None, closed: bool) -> None:
    """Log it when a server listens on `host` for other machines too, and needs no keys."""
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
