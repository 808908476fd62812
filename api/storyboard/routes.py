"""The contract of the storyboard server: a story becomes consistent frames.

Where its document is silent, mistakes are answered 400, and 503 while a model is not ready. The answer is JSON, unless
the field or query parameter `format`, or the header `Accept`, asks for events, a sheet, a zip or a PDF.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_maker
from api.http.contract_app import contract_app
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.streams import started_stream
from api.openapi_description.bodies import FILE
from api.openapi_description.headers import header_references
from api.operations.status import story_status
from api.storyboard.answers import StoryRefused, answer, error_text, story_refusal, stream_events
from api.storyboard.forms import Shape, read_story
from api.storyboard.schemas import EVENTS, PLAN, STORY, StoryHealth, StoryPlanned
from api.storyboard.sheets import SHEET, drawn_sheet
from models.catalogue.serving.served_models import story_entry
from storyboard.files.answer import StoryboardAnswer
from storyboard.rendering import rendered_plan

_SHAPES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            **EVENTS,
            **{shape.media_type: {"schema": FILE} for shape in (Shape.SHEET, Shape.ZIP, Shape.PDF)},
        },
        "headers": header_references(["X-Jubako-Frames", "X-Jubako-Error", "X-Jubako-Hint"]),
    }
}

_SHEET: dict[int | str, dict[str, Any]] = {200: {"content": {Shape.SHEET.media_type: {"schema": FILE}}}}

router = APIRouter()
prefixed_router = APIRouter()
"""Routes whose addresses other contracts also use, so they exist only below /storyboard."""


@router.post("/generate", response_model=StoryboardAnswer, responses=_SHAPES, openapi_extra=STORY)
async def generate(
    request: Request,
    shape: Annotated[
        str | None, Query(alias="format", description=f"{', '.join(Shape)}. Default: as `Accept` says.")
    ] = None,
) -> Response:
    """Break a story into scenes and generate an image of each; the same story and seed give the same frames."""
    maker = current_maker(request)
    story, wanted = await read_story(request, maker.settings, shape)
    if wanted is Shape.EVENTS:
        return await started_stream(stream_events(maker, story), error_text)
    return await unless_disconnected(request, answer(maker, story, wanted))


@prefixed_router.post("/plan", response_model=StoryPlanned, openapi_extra=PLAN)
async def plan(request: Request) -> JSONResponse:
    """Break a story into scenes without drawing them; to draw them, send them back, changed or not, as its `scenes`."""
    maker = current_maker(request)
    story, _ = await read_story(request, maker.settings)
    planned = await unless_disconnected(request, maker.plan(story))
    return JSONResponse(rendered_plan(planned))


@prefixed_router.post("/sheet", response_class=Response, responses=_SHEET, openapi_extra=SHEET)
async def sheet(request: Request) -> Response:
    """Draw a sheet: one image of all the frames sent, numbered and captioned, such as after one was drawn again."""
    maker = current_maker(request)
    data = await drawn_sheet(request, maker.gateway.meter, maker.settings.max_image_px)
    return Response(data, media_type=Shape.SHEET.media_type)


@prefixed_router.get("/", response_model=StoryHealth)
@prefixed_router.get("/health", response_model=StoryHealth)
async def health(request: Request) -> JSONResponse:
    """Report whether storyboards can be generated, and with which model."""
    maker = current_maker(request)
    entry = story_entry(maker.settings, maker.gateway.catalogue)
    state = await maker.gateway.runners[entry.id].state()
    return JSONResponse({"status": "running", **story_status(maker, {entry.id: state.state}), "model": entry.id})


storyboard_app = contract_app("Storyboard generation", "storyboard", router, story_refusal, StoryRefused)
storyboard_alone = contract_app("Storyboard generation", "storyboard", router, story_refusal, StoryRefused)
"""Mounted under the contract's prefix, with the addresses that all contracts share at the root."""
storyboard_alone.include_router(prefixed_router)
