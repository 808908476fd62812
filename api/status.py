"""`GET /health` and `GET /models`: how the server is, and what it can do."""

from __future__ import annotations

import asyncio
from typing import Any

from bentoml import get_current_service
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.gateway import Gateway
from models.capabilities import capabilities
from version import VERSION


async def health(_: Request) -> JSONResponse:
    """Answer 200 when at least one model can draw, else 503."""
    models = await asyncio.gather(*(runner.state() for runner in _gateway().runners.values()))
    states = {model["state"] for model in models}
    status = "healthy" if states == {"ready"} else "loading" if "loading" in states else "degraded"
    body = {"status": status, "version": VERSION, "models": models}
    return JSONResponse(body, 200 if "ready" in states else 503)


async def models(_: Request) -> JSONResponse:
    """Answer with the models served, the default first: what each can do, and whether it is loaded."""
    gateway = _gateway()
    states = await asyncio.gather(*(runner.state() for runner in gateway.runners.values()))
    entries = [gateway.catalogue.get(model) for model in gateway.runners]
    shown = [{**capabilities(entry), "state": state["state"]} for entry, state in zip(entries, states, strict=True)]
    return JSONResponse({"models": shown})


status_app = Starlette(routes=[Route("/health", health), Route("/models", models)])


def _gateway() -> Gateway:
    service: Any = get_current_service()
    gateway: Gateway = service.gateway
    return gateway
