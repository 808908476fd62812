"""The storyboard contract alone, in one process that generates and scores by itself: what `api/server.py` serves.

Each of its processes loads the models; to serve many clients with one GPU, serve the Bento instead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from access.keys import Keyring
from access.rates import RateLimiter
from access.sites import Sites
from api.http.contract_app import contract_app
from api.http.contract_table import ContractTable
from api.http.door import Door
from api.http.open_streams import OpenStreams
from api.http.sites import BrowserGuard
from api.http.upload_limit import UploadLimit
from api.storyboard.answers import story_refusal
from api.storyboard.routes import router, status_router
from core.logs import show_log
from models.catalogue.served import served_catalogue, story_entry
from processes.guard import Guard
from processes.starting import starting
from settings import settings
from settings.report import log_settings
from standalone.in_process import gateway_here, unload_all
from storyboard.maker import Maker
from storyboard.planning.choice import planner_for
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.scorers import Scorers

with starting():
    SETTINGS = settings()
    KEYRING = Keyring.of(SETTINGS)
    STORY_MODEL = story_entry(SETTINGS, served_catalogue(SETTINGS))
LIMITER = RateLimiter(SETTINGS.redis)
show_log()


@asynccontextmanager
async def _models_open(app: FastAPI) -> AsyncGenerator[None, None]:
    """Keep the models on the server's event loop; the one that generates stories is loaded at once."""
    log_settings(SETTINGS)
    gateway, clips = gateway_here(SETTINGS, LIMITER), ClipHost(SETTINGS.device)
    app.state.maker = Maker(gateway, planner_for(SETTINGS), Scorers(SETTINGS, clips.compare), SETTINGS)
    if SETTINGS.load == "start":
        await gateway.runners[STORY_MODEL.id].load()
    try:
        yield
    finally:
        await unload_all(gateway)
        clips.close()


app = contract_app("Storyboard generation", router, story_refusal)
CONTRACTS = ContractTable(other=story_refusal)
app.include_router(status_router)
app.router.lifespan_context = _models_open
app.add_middleware(OpenStreams, most=SETTINGS.max_streams_per_client, contracts=CONTRACTS)
app.add_middleware(Door, keyring=KEYRING, limiter=LIMITER, contracts=CONTRACTS)
app.add_middleware(UploadLimit, max_bytes=SETTINGS.max_upload_bytes, contracts=CONTRACTS)
app.add_middleware(
    BrowserGuard,
    sites=Sites.of(SETTINGS, KEYRING.closed),
    cors_origins=SETTINGS.cors_origins,
    contracts=CONTRACTS,
)
app.add_middleware(Guard, refusal_for=CONTRACTS.refusal_for, client_timeout_s=SETTINGS.client_timeout_s)
