"""The routes of the OpenAI Images API, at the root and under `/openai`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from api.http.context import current_gateway, server_address
from api.http.contract import contract_app
from api.http.leaving import unless_caller_leaves
from api.openai import socket
from api.openai.answers import answer
from api.openai.drafting import accept
from api.openai.errors import openai_refusal, protocol_refusal
from api.openai.forms import EditForm, GenerationForm, ImagesForm, VariationForm
from api.openai.models import model_list, model_object
from api.openai.reading import read_form
from api.openai.schemas import body_of
from api.openai.streaming import server_sent
from api.operations import status
from api.typed.streaming import resumed
from core.request import Task
from core.version import VERSION
from gateway.metrics import measured
from processes.closing_stream import ClosingResponse

TITLE = "Jubako: OpenAI Images API"
JSON, MULTIPART = "application/json", "multipart/form-data"

images = APIRouter(prefix="/v1")
front = APIRouter()


@images.post("/images/generations", openapi_extra=body_of(GenerationForm, JSON))
async def generations(request: Request) -> Response:
    """Draw pictures from a prompt."""
    return await _answer(request, GenerationForm)


@images.post("/images/edits", openapi_extra=body_of(EditForm, MULTIPART, JSON))
async def edits(request: Request) -> Response:
    """Change pictures as a prompt says; with a mask, only where it is transparent."""
    return await _answer(request, EditForm)


@images.post("/images/variations", openapi_extra=body_of(VariationForm, MULTIPART, JSON))
async def variations(request: Request) -> Response:
    """Draw pictures that look like one."""
    return await _answer(request, VariationForm)


@images.get("/models")
async def models() -> JSONResponse:
    """List the models served, the default first, with what each can do."""
    return JSONResponse(model_list(current_gateway().catalogue))


@images.get("/models/{model:path}")
async def model(model: str) -> JSONResponse:
    """Say what one model can do; aliases and repositories of the hub are names too."""
    return JSONResponse(model_object(current_gateway().catalogue, model))


@images.websocket("/images/stream")
async def stream(websocket: WebSocket) -> None:
    """Draw one request, telling all that happens."""
    await socket.serve(websocket)


@front.get("/health")
async def health(request: Request) -> Response:
    """Say how the models are."""
    return await status.health(request)


@front.get("/")
async def info() -> JSONResponse:
    """Say which routes the default model can answer."""
    tasks = current_gateway().catalogue.default.tasks
    routes = {
        "/v1/images/generations": Task.TEXT_TO_IMAGE in tasks,
        "/v1/images/edits": bool({Task.EDIT, Task.INPAINT, Task.IMAGE_TO_IMAGE} & tasks.keys()),
        "/v1/images/variations": Task.IMAGE_TO_IMAGE in tasks,
    }
    model = current_gateway().catalogue.default.id
    return JSONResponse({"name": TITLE, "version": VERSION, "model": model, "endpoints": routes})


front.include_router(images)
openai_app = contract_app(TITLE, images, openai_refusal)
"""At the root, beside the other contracts."""
openai_alone = contract_app(TITLE, front, openai_refusal)
"""Under its own prefix, with the addresses that the root shares."""


@openai_app.exception_handler(HTTPException)
@openai_alone.exception_handler(HTTPException)
async def _not_answered(_: Request, error: HTTPException) -> Response:
    return protocol_refusal(error)


async def _answer(request: Request, form_type: type[ImagesForm]) -> Response:
    form = await read_form(request, form_type)
    if form.stream:
        events = server_sent(current_gateway(), form)
        first = await unless_caller_leaves(request, anext(events))
        return ClosingResponse(resumed(first, events), "text/event-stream")
    return JSONResponse(await unless_caller_leaves(request, _drawn(form, server_address(request))))


async def _drawn(form: ImagesForm, base_url: str) -> dict[str, Any]:
    with measured() as measure:
        gateway = current_gateway()
        accepted = await accept(gateway, form)
        measure.model, measure.task = accepted.request.model, accepted.request.task
        return await answer(gateway, accepted, base_url)
