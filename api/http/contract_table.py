"""What the server must know about a contract before a request reaches its routes: paths, permissions, error shape."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import ASGIApp, Scope

from api.http.contract_app import ContractApp, Refusal
from api.http.docs_pages import PAGES
from api.http.refusals import refusal
from core.errors import JubakoError

PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/docs.json")
"""Open because Kubernetes sends no keys. The metrics check a key of their own."""
OPEN_FOLDERS = ("/files/", "/assets/")
"""Results, which have names that nobody can guess and which browsers load without headers, and our pages' assets."""


@dataclass(frozen=True)
class Contract:
    """One wire format, and where it is mounted."""

    name: str
    app: ASGIApp
    """Mounted at the root, beside the others."""
    refusal: Refusal
    """Turns an error into a response, including errors raised before the routes are reached."""
    paths: tuple[str, ...]
    """The first segment of each of its addresses at the root."""
    prefix: str | None = None
    """Where it is mounted a second time, alone."""
    app_alone: ASGIApp | None = None
    """The application mounted there, which adds the addresses that all contracts share at the root. Default: `app`."""
    open_paths: tuple[str, ...] = ()
    """Addresses beside PAGES that anyone may read, as its description then says."""
    admin_paths: tuple[str, ...] = ()
    """Patterns of the addresses that load, unload, move or change models."""
    large_paths: tuple[str, ...] = ()
    """Patterns of the addresses that take model files, which have a size limit of their own."""
    idle_paths: tuple[str, ...] = ()
    """Patterns of the addresses whose writes start no work: they choose, describe or cancel. Like reading, they count
    against no rate and are answered while the server is being stopped.
    """
    counts_itself: bool = False
    """Whether the contract counts requests against rates itself, since most of its messages start no work."""
    watching_sockets: tuple[str, ...] = ()
    """Endings of the addresses of WebSockets that only watch. All others generate, as do POSTs that are not idle."""

    def __post_init__(self) -> None:
        for app, _ in self.mounts:
            if isinstance(app, ContractApp):
                app.open_paths = self.all_open_paths

    @property
    def all_open_paths(self) -> tuple[str, ...]:
        return (*PAGES, *self.open_paths)

    @property
    def mounts(self) -> Iterator[tuple[ASGIApp, str]]:
        """The applications, and where each is mounted."""
        yield self.app, "/"
        if self.prefix is not None:
            yield self.app_alone or self.app, self.prefix


class ContractTable:
    """All contracts of a server. `other` answers errors at addresses of none of them."""

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
            for page in contract.all_open_paths
        }
        self._admin = [re.compile(path) for contract in contracts for path in contract.admin_paths]
        self._large = [re.compile(path) for contract in contracts for path in contract.large_paths]
        self._idle = [re.compile(path) for contract in contracts for path in contract.idle_paths]
        self._counting = {path for contract in contracts if contract.counts_itself for path in contract.paths}
        self._watching = tuple(ending for contract in contracts for ending in contract.watching_sockets)

    @property
    def mounts(self) -> list[tuple[ASGIApp, str]]:
        """All mounts; where two have the same address, the first answers."""
        return [mount for contract in self.contracts for mount in contract.mounts]

    def owns(self, path: str) -> bool:
        """Whether a path's first segment belongs to a contract."""
        return _first_folder(path) in self._refusals

    @property
    def documented(self) -> list[FastAPI]:
        """The applications that have an OpenAPI description."""
        return [contract.app for contract in self.contracts if isinstance(contract.app, FastAPI)]

    def refusal_for(self, path: str, error: JubakoError) -> Response:
        """Return the response to an error, in the shape of the contract that a path belongs to."""
        return self._refusals.get(_first_folder(path), self._other)(error)

    def is_open(self, scope: Scope) -> bool:
        """Whether no key is needed: to read open addresses, and for a browser's CORS preflight."""
        if scope["type"] != "http":
            return False
        path: str = scope["path"]
        reads = scope["method"] in ("GET", "HEAD")
        return scope["method"] == "OPTIONS" or (reads and (path in self._open or path.startswith(OPEN_FOLDERS)))

    def needs_admin(self, scope: Scope) -> bool:
        """Whether a request loads, unloads, moves or changes a model."""
        return any(path.search(scope["path"]) for path in self._admin)

    def takes_models(self, scope: Scope) -> bool:
        """Whether a request may upload a model file, which is larger than images."""
        return any(path.search(scope["path"]) for path in self._large)

    def counts(self, scope: Scope) -> bool:
        """Whether a request counts against the rate on arrival: reading, such as polling a job, does not; a WebSocket
        counts once; some contracts count for themselves.
        """
        path: str = scope["path"]
        writes = scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "DELETE")
        return writes and not self._is_idle(path) and _first_folder(path) not in self._counting

    def generates(self, scope: Scope) -> bool:
        """Whether a request starts work, rather than only reading or watching."""
        if scope["type"] == "websocket":
            path: str = scope["path"]
            return not path.endswith(self._watching)
        return scope["method"] == "POST" and not self._is_idle(scope["path"])

    def _is_idle(self, path: str) -> bool:
        return any(idle.search(path) for idle in self._idle)


def _first_folder(path: str) -> str:
    return "/" + path.lstrip("/").partition("/")[0]
