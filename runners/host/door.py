"""The door of a runner: refuses requests without its key, and bodies that it does not read."""

from __future__ import annotations

import hmac

from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

OPEN = frozenset({"/livez", "/readyz", "/healthz", "/metrics"})
"""Open paths: for supervisors, which have no key, and metrics, which check their own."""
PICKLE = "application/vnd.bentoml+pickle"
"""The content type of BentoML's calls between services, which BentoML refuses only at the entry service."""


class RunnerDoor:
    """ASGI middleware in front of everything that a runner serves."""

    def __init__(self, app: ASGIApp, key: str | None, max_bytes: int) -> None:
        """Without a `key`, only the socket's permissions decide who can connect."""
        self._app = app
        self._key = key
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None if scope["type"] == "lifespan" else self._refused(scope)
        if refused is None:
            await self._app(scope, receive, send)
        else:
            status, reason = refused
            await JSONResponse({"error": reason}, status)(scope, receive, send)

    def _refused(self, scope: Scope) -> tuple[int, str] | None:
        """Return the status and the reason with which a request is refused, or None."""
        headers = Headers(scope=scope)
        if scope["path"] not in OPEN and not self._knows(headers.get("authorization", "")):
            return 401, "the gateway's JUBAKO_RUNNER_KEY is not this runner's"
        if PICKLE in headers.get("content-type", "").lower():
            return 415, "pickles are not read"
        if "transfer-encoding" in headers:
            return 411, "the length of the body must be said"
        if int(headers.get("content-length", 0)) > self._max_bytes:
            return 413, f"the body has more than {self._max_bytes} bytes"
        return None

    def _knows(self, authorization: str) -> bool:
        return self._key is None or hmac.compare_digest(authorization.encode(), f"Bearer {self._key}".encode())
