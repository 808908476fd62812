"""`GET /health` and `GET /models`: whether the server and its models work, and what each model can do."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.http.context import current_gateway, current_maker, current_storage, running_desk
from api.operations.schemas import UNHEALTHY, Health, Models
from core.version import VERSION
from core.wording import without_folders
from gateway.gateway import Gateway
from models.catalogue.serving.served_models import story_entry
from models.catalogue.showing.capabilities import capabilities
from runners.state import ModelState
from settings import settings
from storyboard.maker import Maker

router = APIRouter()


@router.get("/health", response_model=Health, responses=UNHEALTHY)
async def health(request: Request) -> JSONResponse:
    """Answer 200 if at least one model can generate, or would be loaded on request; else 503."""
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
        **story_status(current_maker(request), {model.model: model.state for model in models}),
    }
    return JSONResponse(body, 200 if any(state.serves for state in states) else 503)


@router.get("/models", response_model=Models)
async def models() -> JSONResponse:
    """List the models served, the default first: what each can do, and whether it is loaded."""
    return JSONResponse({"models": await shown_models(current_gateway())})


async def shown_models(gateway: Gateway) -> list[dict[str, Any]]:
    """Return what each served model can do, and its state."""
    states = await asyncio.gather(*(runner.state() for runner in gateway.runners.values()))
    entries = [gateway.catalogue.get(model) for model in gateway.runners]
    return [
        {**capabilities(entry), "state": state.state, "progress": state.progress, "sharing": state.sharing}
        for entry, state in zip(entries, states, strict=True)
    ]


async def server_status() -> dict[str, Any]:
    """Return whether the server, Redis and storage respond, as `/` and `/api/health` show it."""
    records = await running_desk().is_reachable()
    stored = await current_storage().is_reachable()
    redis = "not configured" if settings().redis is None else "connected" if records else "disconnected"
    return {
        "status": "healthy" if records and stored else "degraded",
        "message": "Image/Video Generation Server is running",
        "version": VERSION,
        "redis": redis,
        "storage": "connected" if stored else "disconnected",
    }


def story_status(maker: Maker, states: Mapping[str, ModelState]) -> dict[str, Any]:
    """Return the fields that the storyboard document wants in `/health`; `states` has the models' states by id."""
    entry = story_entry(maker.settings, maker.gateway.catalogue)
    path = maker.settings.lora_path
    return {
        "model_loaded": states[entry.id] is ModelState.READY,
        "lora_path": None if path is None else without_folders(str(path)),
        "ref_guided_available": entry.ip_adapter is not None,
    }
