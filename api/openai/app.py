"""The routes of the OpenAI Images API, at the root and under `/openai`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, WebSocket
from fastapi.responses import JSONResponse, Response

from api.http.context import current_gateway, server_address
from api.http.contract_app import contract_app
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.streams import started_stream
from api.openai import socket
from api.openai.answers import answer
from api.openai.chat.routes import chat
from api.openai.drafting import admit
from api.openai.errors import OpenAIRefused, openai_refusal
from api.openai.forms import EditForm, GenerationForm, ImagesForm, VariationForm
from api.openai.models import model_list, model_object
from api.openai.reading import read_form
from api.openai.schemas import EDITED, GENERATED, ImagesAnswer, Info, ModelList, ModelObject
from api.openai.streaming import error_text, stream_events
from api.openai.videos.routes import videos
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from api.operations import status
from api.operations.schemas import UNHEALTHY, Health
from core.generation.hints import hint_header
from core.generation.request import Task
from core.version import VERSION
from gateway.metrics import measured

TITLE = "Jubako: OpenAI Images API"

images = APIRouter()
models_router = APIRouter()


@images.post(
    "/images/generations",
    response_model=ImagesAnswer,
    responses=GENERATED,
    openapi_extra=described_body(
        GenerationForm,
        JSON,
        MULTIPART,
        name="OpenAIGeneration",
        task=Task.TEXT_TO_IMAGE,
        prompt="a red apple on a blue background",
    ),
)
async def generations(request: Request) -> Response:
    """Generate images from a prompt; at this address also without `/v1`, and at Azure's."""
    return await _answer(request, GenerationForm)


@images.post(
    "/images/edits",
    response_model=ImagesAnswer,
    responses=EDITED,
    openapi_extra=described_body(EditForm, MULTIPART, JSON, name="OpenAIEdit", task=Task.EDIT),
)
async def edits(request: Request) -> Response:
    """Edit images by a prompt; with a mask, only where it is transparent."""
    return await _answer(request, EditForm)


@images.post(
    "/images/variations",
    response_model=ImagesAnswer,
    responses=EDITED,
    openapi_extra=described_body(VariationForm, MULTIPART, JSON, name="OpenAIVariation", task=Task.IMAGE_TO_IMAGE),
)
async def variations(request: Request) -> Response:
    """Generate variations of an image."""
    return await _answer(request, VariationForm)


@models_router.get("/models", response_model=ModelList)
async def models() -> JSONResponse:
    """List the models served, the default first, with what each can do."""
    return JSONResponse(model_list(current_gateway().catalogue))


@models_router.get("/models/{model:path}", response_model=ModelObject)
async def model(model: str) -> JSONResponse:
    """Describe one model, by its id, an alias or its repository on the Hugging Face Hub."""
    return JSONResponse(model_object(current_gateway().catalogue, model))


@images.websocket("/images/stream")
async def stream(websocket: WebSocket) -> None:
    """Generate one request, streaming all of its events."""
    await socket.serve(websocket)


versioned = APIRouter(prefix="/v1")
for each in (images, models_router):
    versioned.include_router(each)
at_root = APIRouter()
at_root.include_router(versioned)
at_root.include_router(images, include_in_schema=False)
"""For clients whose base address has no `/v1`; `/models` of the root is another contract's."""
alone = APIRouter()


@alone.get("/health", response_model=Health, responses=UNHEALTHY)
async def health(request: Request) -> Response:
    """Report the state of the models."""
    return await status.health(request)


@alone.get("/", response_model=Info)
async def info() -> JSONResponse:
    """List the routes, and whether the default model supports each."""
    tasks = current_gateway().catalogue.default.tasks
    routes = {
        "/v1/images/generations": Task.TEXT_TO_IMAGE in tasks,
        "/v1/images/edits": bool({Task.EDIT, Task.INPAINT, Task.IMAGE_TO_IMAGE} & tasks.keys()),
        "/v1/images/variations": Task.IMAGE_TO_IMAGE in tasks,
    }
    model = current_gateway().catalogue.default.id
    return JSONResponse({"name": TITLE, "version": VERSION, "model": model, "endpoints": routes})


for each in (versioned, videos, chat):
    alone.include_router(each)
for each in (images, models_router):
    alone.include_router(each, include_in_schema=False)
alone.include_router(images, prefix="/deployments/{deployment:path}", include_in_schema=False)
"""Azure's addresses: `/openai/deployments/MODEL/images/generations`."""
openai_app = contract_app(TITLE, "openai", at_root, openai_refusal, OpenAIRefused)
"""Mounted at the root, beside the other contracts."""
openai_alone = contract_app(TITLE, "openai", alone, openai_refusal, OpenAIRefused)
"""Mounted under the contract's prefix, with the addresses that all contracts share at the root."""


async def _answer(request: Request, form_type: type[ImagesForm]) -> Response:
    form = await read_form(request, form_type, request.path_params.get("deployment"))
    if form.stream:
        return await unless_disconnected(request, started_stream(stream_events(current_gateway(), form), error_text))
    body = await unless_disconnected(request, _body(form, server_address(request)))
    return JSONResponse(body, headers=hint_header(body.get("hint")))


async def _body(form: ImagesForm, base_url: str) -> dict[str, Any]:
    with measured() as measure:
        gateway = current_gateway()
        admitted = await admit(gateway, form)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        return await answer(gateway, admitted, base_url)
