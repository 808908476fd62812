"""The routes of Ollama's API that images need, under `/ollama/api`; its other routes are about text."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.refusals import error_answer
from api.http.requests.forms import validated
from api.http.requests.parsing import read_fields, read_model
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.streams import started_stream
from api.ollama.forms import OllamaForm, OllamaName
from api.ollama.generating import error_line, generated_lines, line, model_named
from api.ollama.schemas import OllamaImage, OllamaModels, OllamaRefused, OllamaShown, OllamaVersion
from api.openapi_description.bodies import JSON, described_body
from api.openapi_description.headers import header_references
from core.errors import JubakoError
from core.generation.hints import hint_header, unknown_hint
from core.generation.request import Task
from core.version import VERSION
from gateway.media.reading.decoding import uploaded_files
from gateway.media.reading.uploads import in_image_thread
from models.catalogue.entry import Entry
from settings import settings

LINES = "application/x-ndjson"
PING = line({"done": False})
"""A line without content that keeps the stream alive: clients parse every line as JSON."""
QUIET = frozenset({"keep_alive", "raw", "think"})
"""Fields that clients send for text models; they do not affect images."""
PICTURES = (Task.TEXT_TO_IMAGE, Task.EDIT, Task.IMAGE_TO_IMAGE)
STARTED_AT = datetime.now(UTC).isoformat()

PROGRESS = {"type": "string", "description": "Lines of JSON: `completed` and `total` of each step, then the image."}

router = APIRouter(prefix="/ollama/api")


@router.post(
    "/generate",
    response_model=OllamaImage,
    responses={200: {"content": {LINES: {"schema": PROGRESS}}, "headers": header_references(["X-Jubako-Hint"])}},
    openapi_extra=described_body(
        OllamaForm,
        JSON,
        name="OllamaGeneration",
        task=Task.TEXT_TO_IMAGE,
        model="miniature",
        prompt="a red apple on a blue background",
        stream=False,
    ),
)
async def generate(request: Request) -> Response:
    """Generate one image."""
    form, unknown = await _read(request)
    lines = generated_lines(current_gateway(), form, unknown)
    if form.stream:
        return await unless_disconnected(request, started_stream(lines, error_line, PING, LINES))
    body = await unless_disconnected(request, _last(lines))
    return JSONResponse(body, headers=hint_header(body.get("hint")))


@router.get("/tags", response_model=OllamaModels)
async def tags() -> JSONResponse:
    """List the models that make images."""
    entries = current_gateway().catalogue.entries.values()
    return JSONResponse({"models": [_shown(entry) for entry in entries if not entry.tasks.keys().isdisjoint(PICTURES)]})


@router.post("/show", response_model=OllamaShown, openapi_extra=described_body(OllamaName, JSON, name="OllamaShow"))
async def show(request: Request) -> JSONResponse:
    """Describe one model."""
    entry = model_named(current_gateway().catalogue, (await read_model(request, OllamaName)).model)
    shown = _shown(entry)
    nothing = {"modelfile": "", "parameters": "", "template": ""}
    info = {"general.architecture": entry.family, "general.name": entry.title}
    own = {name: shown[name] for name in ("modified_at", "details", "capabilities")}
    return JSONResponse({"license": entry.licence, **nothing, **own, "model_info": info})


@router.get("/version", response_model=OllamaVersion)
async def version() -> JSONResponse:
    """Return this server's version."""
    return JSONResponse({"version": VERSION})


def ollama_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error."""
    return error_answer(error, {"error": error.message})


ollama_app = contract_app("Ollama's image generation", "ollama", router, ollama_refusal, OllamaRefused)


async def _read(request: Request) -> tuple[OllamaForm, str | None]:
    """Return the form, and a hint about unknown fields. Raises InvalidRequest."""
    fields = await read_fields(request, ("images",))
    known = {name: fields[name] for name in fields if name in OllamaForm.model_fields}
    form = await in_image_thread(_form, known)
    options = {f"options.{name}" for name in form.options.model_extra or {}}
    return form, unknown_hint({*(fields.keys() - known.keys() - QUIET), *options})


def _form(fields: dict[str, Any]) -> OllamaForm:
    """Check the fields, files included. Blocks. Raises InvalidRequest."""
    files = [file for file in fields.get("images", []) if file]
    images = uploaded_files(files, "images", settings().max_image_px)
    return validated({**fields, "images": images}, OllamaForm)


async def _last(lines: AsyncGenerator[str, None]) -> dict[str, Any]:
    async with aclosing(lines):
        *_, last = [text async for text in lines]
    body: dict[str, Any] = json.loads(last)
    return body


def _shown(entry: Entry) -> dict[str, Any]:
    details = {
        "parent_model": entry.base or "",
        "format": "diffusers",
        "family": entry.family,
        "families": [entry.family],
        "parameter_size": "",
        "quantization_level": entry.dtype,
    }
    name = {"name": entry.id, "model": entry.id, "digest": "", "modified_at": STARTED_AT}
    return {**name, "size": round(entry.memory_gib * 2**30), "details": details, "capabilities": ["image"]}
