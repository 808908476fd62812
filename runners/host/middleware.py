"""Middleware for every service behind the gateway: runners, the image check, the scorer."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from core.errors import JubakoError, retry_headers
from processes.http.guard import Guard
from runners.host.door import RunnerDoor
from settings import Settings


def put_in_front(service: Any, settings: Settings, max_bytes: int, key: str | None = None) -> None:
    """Give a BentoML service its guard and its door.

    Without a `key`, any process that can reach the service's socket may use it. Larger bodies than `max_bytes` are
    refused.
    """
    service.add_asgi_middleware(Guard, refusal_for=refusal, client_timeout_s=settings.client_timeout_s)
    service.add_asgi_middleware(RunnerDoor, key=key, max_bytes=max_bytes)


def refusal(_: str, error: JubakoError) -> Response:
    """Return the response to a request that is refused."""
    return JSONResponse({"error": error.message}, error.status, retry_headers(error))
