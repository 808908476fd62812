"""The storyboard contract alone, in one process that generates and scores itself: what `api/server.py` serves.

Each of its processes loads the models; to serve many clients with one GPU, serve the Bento instead.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from access.keys import Keyring
from access.rates import RateLimiter
from api.http.contract_app import contract_app
from api.http.contract_table import ContractTable
from api.http.docs_pages import ASSETS
from api.middleware.paths import UnderPrefix
from api.middleware.stack import entrance, middleware_stack
from api.storyboard.answers import StoryRefused, story_refusal
from api.storyboard.routes import prefixed_router, router
from core.logs import show_log
from models.catalogue.serving.served_models import log_ignored, served_catalogue, story_entry
from processes.allocator import return_freed_memory
from processes.starting import starting
from settings import settings
from settings.startup_log import log_settings
from standalone.in_process import gateway_here, unload_all
from storyboard.maker import Maker
from storyboard.planning.choice import planner_for
from storyboard.scoring.clip_host import ClipHost
from storyboard.scoring.scorers import Scorers

with starting():
    SETTINGS = settings()
    KEYRING = Keyring.of(SETTINGS)
    CATALOGUE = served_catalogue(SETTINGS)
    STORY_MODEL = story_entry(SETTINGS, CATALOGUE)
LIMITER = RateLimiter(SETTINGS.redis)
show_log()


@asynccontextmanager
async def _models_open(app: FastAPI) -> AsyncGenerator[None, None]:
    """Run the models on the server's event loop; the model for stories is loaded at once."""
    return_freed_memory()
    log_settings(SETTINGS)
    log_ignored(SETTINGS, CATALOGUE)
    gateway, clips = gateway_here(SETTINGS, LIMITER), ClipHost(SETTINGS.first_device)
    app.state.maker = Maker(gateway, planner_for(SETTINGS), Scorers(SETTINGS, clips.compare), SETTINGS)
    if SETTINGS.load == "start":
        await gateway.runners[STORY_MODEL.id].load()
    try:
        yield
    finally:
        await unload_all(gateway)
        clips.close()


app = contract_app("Storyboard generation", "storyboard", router, story_refusal, StoryRefused)
CONTRACTS = ContractTable(other=story_refusal)
app.include_router(prefixed_router)
app.router.routes.append(ASSETS)
app.router.lifespan_context = _models_open
IN_FRONT = (
    *entrance(SETTINGS, CONTRACTS),
    *middleware_stack(SETTINGS, KEYRING, LIMITER, CONTRACTS),
    (UnderPrefix, {"contracts": CONTRACTS}),
)
for middleware, options in reversed(IN_FRONT):
    app.add_middleware(middleware, **options)
