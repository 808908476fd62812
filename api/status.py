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
from models.entries import Entry
from version import VERSION


async def health(_: Request) -> JSONResponse:
    """Answer 200 when at least one model can draw, else 503."""
    models = await asyncio.gather(*(runner.state() for runner in _gateway().runners.values()))
    states = {model["state"] for model in models}
    status = "healthy" if states == {"ready"} else "loading" if "loading" in states else "degraded"
    body = {"status": status, "version": VERSION, "models": models}
    return JSONResponse(body, 200 if "ready" in states else 503)


async def models(_: Request) -> JSONResponse:
    """Answer with the models served, the default first."""
    return JSONResponse({"models": [_capabilities(entry) for entry in _gateway().catalogue.entries.values()]})


status_app = Starlette(routes=[Route("/health", health), Route("/models", models)])


def _gateway() -> Gateway:
    service: Any = get_current_service()
    gateway: Gateway = service.gateway
    return gateway


def _capabilities(entry: Entry) -> dict[str, Any]:
    shown = {"id", "title", "family", "licence", "gated", "tasks", "camera", "memory_gib"}
    return {
        **entry.model_dump(mode="json", include=shown),
        "schedulers": sorted(entry.family_spec.schedulers),
        "negative_prompt": entry.family_spec.negative_prompt,
        "loras": {name: lora.description for name, lora in entry.choosable_loras.items()},
        "controlnets": sorted(entry.controlnets) if entry.family_spec.controlled else [],
        "ip_adapter": entry.ip_adapter is not None,
        "vocabulary": None if entry.words is None else sorted(entry.words),
    }
