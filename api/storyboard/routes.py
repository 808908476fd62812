"""The contract of the storyboard server: a story becomes consistent frames.

What its document leaves open: mistakes are answered 400, and what is not there yet 503. The answer is JSON, unless the
field or query parameter `format`, or the header `Accept`, asks for events, a sheet, a zip or a PDF.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_maker
from api.http.contract import contract_app
from api.http.leaving import unless_caller_leaves
from api.storyboard.answers import answer, events, story_refusal
from api.storyboard.forms import Shape, read_story, request_body
from api.typed.streaming import resumed
from models.catalogue.served import story_entry
from processes.closing_stream import ClosingResponse
from runners.state import ModelState
from storyboard.files.answer import StoryboardAnswer
from storyboard.maker import Maker

_SHAPES: dict[int | str, dict[str, Any]] = {
    200: {"content": {shape.media_type: {} for shape in Shape if shape is not Shape.JSON}}
}

router = APIRouter()
status_router = APIRouter()


@router.post("/generate", response_model=StoryboardAnswer, responses=_SHAPES, openapi_extra=request_body())
async def generate(
    request: Request,
    shape: Annotated[
        str | None, Query(alias="format", description=f"{', '.join(Shape)}. Default: as `Accept` says.")
    ] = None,
) -> Response:
    """Break a story into scenes and draw each; the same story and seed give the same frames."""
    maker = current_maker(request)
    story, wanted = await read_story(request, maker.settings, shape)
    if wanted is Shape.EVENTS:
        told = events(maker, story)
        # Before the answer begins, so that what is story_refusal gets an ordinary error.
        first = await anext(told)
        return ClosingResponse(resumed(first, told), wanted.media_type)
    return await unless_caller_leaves(request, answer(maker, story, wanted))


@status_router.get("/")
@status_router.get("/health")
async def health(request: Request) -> JSONResponse:
    """Say whether stories can be drawn, and with what."""
    maker = current_maker(request)
    entry = story_entry(maker.settings, maker.gateway.catalogue)
    state = await maker.gateway.runners[entry.id].state()
    return JSONResponse({"status": "running", **story_health(maker, {entry.id: state.state}), "model": entry.id})


def story_health(maker: Maker, states: Mapping[str, ModelState]) -> dict[str, Any]:
    """Return what the document's health says beside the status; `states` are those of the models, by id."""
    entry = story_entry(maker.settings, maker.gateway.catalogue)
    path = maker.settings.lora_path
    return {
        "model_loaded": states[entry.id] is ModelState.READY,
        "lora_path": None if path is None else str(path),
        "ref_guided_available": entry.ip_adapter is not None,
    }


storyboard_app = contract_app("Storyboard generation", router, story_refusal)
storyboard_alone = contract_app("Storyboard generation", router, story_refusal)
"""For a prefix of its own, where the addresses of the root are this contract's too."""
storyboard_alone.include_router(status_router)
