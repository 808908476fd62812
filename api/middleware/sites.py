"""Pages of other sites, in browsers: refused, or, where the operator allows them, answered with CORS headers."""

from __future__ import annotations

from typing import Any

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from access.sites import Sites
from api.http.contract_table import ContractTable
from core.errors import Forbidden

COUNTED = ("Requests", "Megapixels", "Steps")
EXPOSED_HEADERS = (
    *(
        f"X-Jubako-{name}"
        for name in (
            *("Error", "Frames", "Hint", "Model", "Queue-Ms", "Run-Ms", "Seed", "Skipped-Steps", "Sound", "Tiled"),
            "Upscaler",
        )
    ),
    *(f"X-RateLimit-{name}-{what}" for name in ("Limit", "Remaining", "Reset") for what in COUNTED),
    *("Content-Disposition", "Retry-After", "WWW-Authenticate", "X-Should-Retry"),
    *("X-Request-ID", "X-BentoML-Request-ID"),
)
"""Headers that scripts of allowed pages may read, beside those that CORS always shows."""
READS = ("GET", "HEAD", "OPTIONS")


class SiteGuard:
    """ASGI middleware: refuses host names that may be a stranger's, and writes from other sites' pages."""

    def __init__(self, app: ASGIApp, sites: Sites, contracts: ContractTable) -> None:
        self._app = app
        self._sites = sites
        self._contracts = contracts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = self._app
        if scope["type"] != "lifespan":
            try:
                self._check(scope)
            except Forbidden as error:
                answer = self._contracts.refusal_for(scope["path"], error)
        await answer(scope, receive, send)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        self._sites.check_host(headers)
        if scope["type"] == "websocket" or scope["method"] not in READS:
            self._sites.check_origin(headers)


def cors(origins: tuple[str, ...]) -> tuple[Any, dict[str, Any]]:
    """Return the middleware that lets pages of these origins read answers, and its options.

    Scripts set the key's header themselves, so browsers need not send credentials.
    """
    return CORSMiddleware, {
        "allow_origins": origins,
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "expose_headers": EXPOSED_HEADERS,
        # Allowed pages of public sites may also reach a server on localhost.
        "allow_private_network": True,
    }
