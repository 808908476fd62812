"""What the server must know of a contract before any of its routes is reached: keys, limits and an orderly end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from api.http.contract import Refusal
from api.http.refusals import refusal
from core.errors import JubakoError

PAGES = ("", "/", "/health", "/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json")
"""Of every contract, at the root and under its prefix; anybody may read them."""
PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json")
"""BentoML's own: Kubernetes and Prometheus, which ask for these, have no keys."""
OPEN_FOLDERS = ("/files/", "/static_content/")
"""Results, whose names cannot be guessed and which browsers load without headers; the images of BentoML's page."""


@dataclass(frozen=True)
class Contract:
    """One wire format, and where it is mounted."""

    name: str
    app: ASGIApp
    """At the root, beside the others."""
    refusal: Refusal
    """Its answer to an error, also to one that is found before its routes are reached."""
    paths: tuple[str, ...]
    """The first segments of its addresses at the root."""
    prefix: str | None = None
    """Where it is mounted once more, by itself."""
    app_alone: ASGIApp | None = None
    """What is mounted there: with the addresses that at the root belong to all contracts. Default: `app`."""
    open_paths: tuple[str, ...] = ()
    """Addresses beside PAGES that anybody may read."""
    admin_paths: tuple[str, ...] = ()
    """Patterns of the addresses that change what is loaded, and where."""
    watching_sockets: tuple[str, ...] = ()
    """How the addresses of WebSockets end over which nothing is generated. All others generate, and so does a POST."""

    @property
    def mounts(self) -> Iterator[tuple[ASGIApp, str]]:
        """The applications, and where each is mounted."""
        yield self.app, "/"
        if self.prefix is not None:
            yield self.app_alone or self.app, self.prefix


class ContractTable:
    """All contracts of a server; addresses of none of them are answered in the typed APIs' shape, or `other`."""

    def __init__(self, *contracts: Contract, other: Refusal = refusal) -> None:
        self.contracts = contracts
        self._other = other
        self._refusals = {
            path: contract.refusal
            for contract in contracts
            for path in (*contract.paths, *filter(None, [contract.prefix]))
        }
        self._open = {*PROBES, *PAGES} | {
            prefix + page
            for contract in contracts
            for prefix in ("", contract.prefix)
            if prefix is not None
            for page in (*PAGES, *contract.open_paths)
        }
        self._admin = [re.compile(path) for contract in contracts for path in contract.admin_paths]
        self._watching = tuple(ending for contract in contracts for ending in contract.watching_sockets)

    @property
    def mounts(self) -> list[tuple[ASGIApp, str]]:
        """Where two have one address, the first answers."""
        return [mount for contract in self.contracts for mount in contract.mounts]

    @property
    def documented(self) -> list[FastAPI]:
        """The applications that describe themselves."""
        return [contract.app for contract in self.contracts if isinstance(contract.app, FastAPI)]

    def refusal_for(self, path: str, error: JubakoError) -> Response:
        """Return the answer to an error in the shape of the contract that a path belongs to."""
        return self._refusals.get("/" + path.split("/")[1], self._other)(error)

    def is_open(self, scope: Scope) -> bool:
        """Whether anybody may ask; only for reading, and for a browser's question whether it may (CORS)."""
        if scope["type"] != "http":
            return False
        path: str = scope["path"]
        reads = scope["method"] in ("GET", "HEAD")
        return scope["method"] == "OPTIONS" or (reads and (path in self._open or path.startswith(OPEN_FOLDERS)))

    def needs_admin(self, scope: Scope) -> bool:
        """Whether it changes what the server has loaded, and where."""
        return any(path.search(scope["path"]) for path in self._admin)

    def generates(self, scope: Scope) -> bool:
        """Whether it starts work, and does not only watch or read."""
        if scope["type"] == "websocket":
            path: str = scope["path"]
            return not path.endswith(self._watching)
        return bool(scope["method"] == "POST")
