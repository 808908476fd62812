"""The contracts over a gateway, models and a job desk in this process: what a server has, without its processes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from access.keys import Keyring
from api.http import context
from api.jobs.assembly import make_desk
from api.predictions.answers import WEBHOOK_BODIES
from gateway.gateway import Gateway
from settings import settings
from standalone.in_process import Unmetered, gateway_here, unload_all
from storage.client import open_storage
from storyboard.maker import Maker
from storyboard.planning.choice import planner_for
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.scorers import Scorers

FINAL = ("completed", "failed", "cancelled")


@asynccontextmanager
async def service_here(catalogue: Path, monkeypatch: pytest.MonkeyPatch, **environment: str) -> AsyncIterator[Gateway]:
    """Let the contracts' applications find a service of this process until the block ends."""
    folder = catalogue.parent
    own = {
        "JUBAKO_CATALOGUE": str(catalogue),
        "JUBAKO_DEVICE": "cpu",
        "JUBAKO_STORAGE": str(folder / "storage"),
        "JUBAKO_JOBS_FILE": str(folder / "jobs.sqlite"),
    }
    for name, value in {**own, **environment}.items():
        monkeypatch.setenv(name, value)
    settings.cache_clear()
    chosen = settings()
    gateway, clips, storage = gateway_here(chosen, Unmetered()), ClipHost("cpu"), open_storage(chosen)
    maker = Maker(gateway, planner_for(chosen), Scorers(chosen, clips.compare), chosen)
    desk = make_desk(chosen, maker, storage, Keyring.of(chosen), WEBHOOK_BODIES)
    service = SimpleNamespace(gateway=gateway, desk=desk, storage=storage, maker=maker)
    monkeypatch.setattr(context, "get_current_service", lambda: service)
    await desk.open()
    try:
        yield gateway
    finally:
        await desk.close()
        await unload_all(gateway)
        clips.close()
        settings.cache_clear()


def client_here(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of one contract."""
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://here")


async def ended(client: httpx.AsyncClient, session_id: str) -> dict[str, Any]:
    """Wait for the end of a job; return its status."""
    async with asyncio.timeout(120):
        while True:
            body: dict[str, Any] = (await client.get(f"/api/{session_id}/status")).json()
            if body["status"] in FINAL:
                return body
            await asyncio.sleep(0.05)
