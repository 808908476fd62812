"""`GET /health` and `GET /models`: how the server is, and what it can do."""

from __future__ import annotations

import asyncio

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from api.http.context import current_gateway, current_maker
from api.operations.lifecycle import lifecycle_routes
from api.storyboard.routes import story_health
from core.version import VERSION
from models.catalogue.capabilities import capabilities


async def health(request: Request) -> JSONResponse:
    """Answer 200 when at least one model can draw, or would be loaded for a request; else 503."""
    models = await asyncio.gather(*(runner.state() for runner in current_gateway().runners.values()))
    states = [model.state for model in models]
    if any(state.becoming_ready for state in states):
        status = "loading"
    else:
        status = "healthy" if all(state.serves for state in states) else "degraded"
    body = {
        "status": status,
        "version": VERSION,
        "models": [model.as_json() for model in models],
        **story_health(current_maker(request), {model.model: model.state for model in models}),
    }
    return JSONResponse(body, 200 if any(state.serves for state in states) else 503)


async def models(_: Request) -> JSONResponse:
    """Answer with the models served, the default first: what each can do, and whether it is loaded."""
    gateway = current_gateway()
    states = await asyncio.gather(*(runner.state() for runner in gateway.runners.values()))
    entries = [gateway.catalogue.get(model) for model in gateway.runners]
    shown = [{**capabilities(entry), "state": state.state} for entry, state in zip(entries, states, strict=True)]
    return JSONResponse({"models": shown})


operations_app = Starlette(routes=[Route("/health", health), Route("/models", models), *lifecycle_routes])
