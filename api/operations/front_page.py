"""`GET /`: a page for browsers that says what this is, and the server's status for programs."""

from __future__ import annotations

import asyncio
import json
from html import escape
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_gateway, server_address
from api.http.docs_pages import shown_prefix
from api.operations.status import server_status
from api.pages.html import page
from core.generation.request import Task
from core.version import VERSION
from models.catalogue.catalogue import Catalogue
from models.catalogue.entry import Entry
from runners.state import ModelState, RunnerState
from settings import settings

router = APIRouter()


@router.get("/", include_in_schema=False)
async def root(request: Request) -> Response:
    """Answer requests for HTML with the front page, all others with the status."""
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse(await server_status(), headers={"Vary": "Accept"})
    gateway = current_gateway()
    states = await asyncio.gather(*(runner.state() for runner in gateway.runners.values()))
    rows = (_row(gateway.catalogue.get(state.model), state) for state in states)
    return page(
        "front",
        version=VERSION,
        prefix=shown_prefix(request),
        address=server_address(request),
        body=json.dumps(_example(gateway.catalogue)),
        models_html="".join(rows),
        ui_html=_ui_link(shown_prefix(request)) if settings().ui else "",
    )


def _ui_link(prefix: str) -> str:
    return f'<a class="button" href="{escape(prefix)}/ui/">Play</a> '


def _example(catalogue: Catalogue) -> dict[str, Any]:
    """Return an example request; the server can answer it if any of its models makes images from text."""
    able = [entry for entry in catalogue.entries.values() if Task.TEXT_TO_IMAGE in entry.tasks]
    named = {"model": able[0].id} if able and able[0] is not catalogue.default else {}
    return {**named, "prompt": "a red apple on a blue background", "seed": 1}


def _row(entry: Entry, state: RunnerState) -> str:
    """Return a model as a row of the page's table."""
    tasks = ", ".join(task.value.replace("-", " ") for task in entry.tasks)
    cells = f"<th scope=row>{escape(entry.id)}<small>{escape(entry.title)}</small></th><td>{escape(tasks)}</td>"
    return f'<tr>{cells}<td><span class="state {state.state}">{_shown(state)}</span></td></tr>'


def _shown(state: RunnerState) -> str:
    if state.state is ModelState.LOADING and state.download is not None:
        done, total = (count / 1e9 for count in (state.download.done_bytes, state.download.total_bytes))
        return f"downloading, {done:.1f} of {total:.1f} GB"
    if state.state is ModelState.LOADING and state.progress is not None:
        return f"loading, {state.progress:.0%}"
    if state.state is ModelState.READY and state.device is not None:
        return f"ready on {escape(state.device)}"
    if state.state is ModelState.UNLOADED:
        return "loaded on demand"
    return str(state.state)
