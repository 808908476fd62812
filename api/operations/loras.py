"""`POST /models/{id}/loras`: add a LoRA to a model while it is served, by an upload or from the hub."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException

from api.http.context import current_gateway
from api.http.requests.parsing import body_type, read_model
from api.openapi_description.answer import Answer
from api.openapi_description.bodies import FILE, JSON, MULTIPART, described_body
from api.operations.lifecycle import managed_gateway
from core.errors import Forbidden, InvalidRequest
from models.catalogue.added.lora_hub import fetch_lora, refuse_others
from models.catalogue.added.lora_upload import keep_lora, new_name
from models.catalogue.entry import Entry
from settings import settings

router = APIRouter()
MAX_JSON_BYTES = 10_000
ELSEWHERE = (
    "This model's runners on other machines read their own JUBAKO_LORA_FOLDER: they have the LoRA only if that is the "
    "same folder as this server's."
)


class LoraFromHub(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", max_length=200, description="A repository of the hub, owner/name.")
    file: str = Field(
        pattern=r"^(\w[\w. -]*/)*\w[\w. ()-]*\.safetensors$",
        max_length=300,
        description="One of its safetensors files.",
    )
    revision: str | None = Field(
        default=None, pattern=r"^[\w.-]+$", max_length=100, description="A commit, tag or branch; no pull request."
    )
    name: str | None = Field(
        default=None, max_length=200, description="What requests call it. Default: the file's name."
    )


class AddedLora(Answer):
    model: str
    name: str = Field(description="What requests call it, in `loras`.")
    bytes: int
    hint: str | None = Field(description="What else must be done.")


UPLOAD = {
    MULTIPART: {
        "schema": {
            "title": "LoraForm",
            "type": "object",
            "required": ["file"],
            "properties": {
                "file": {**FILE, "description": "A safetensors file."},
                "name": {"type": "string", "description": "What requests call it. Default: the file's name."},
            },
        }
    }
}
FROM_HUB = described_body(
    LoraFromHub, JSON, name="Lora", repo="ostris/ikea-instructions-lora-sdxl", file="a.safetensors"
)
BODY = {
    **FROM_HUB,
    "requestBody": {**FROM_HUB["requestBody"], "content": {**FROM_HUB["requestBody"]["content"], **UPLOAD}},
}


@router.post("/models/{id}/loras", status_code=201, response_model=AddedLora, openapi_extra=BODY)
async def add_lora(
    request: Request, model: Annotated[str, Path(alias="id", description="An id of GET /models, or an alias.")]
) -> JSONResponse:
    """Add a LoRA to a model: a file, or one of an allowed repository of the hub. Requests may name it at once."""
    entry = managed_gateway().catalogue.get(model)
    if entry.folder is None:
        raise Forbidden("this server keeps no LoRAs: the operator sets JUBAKO_LORA_FOLDER to a folder for them")
    is_form = body_type(request.headers) == MULTIPART
    name, size = await (_uploaded(request, entry) if is_form else _fetched(request, entry))
    remote = entry.id in current_gateway().residency.remote
    answer = {"model": entry.id, "name": name, "bytes": size, "hint": ELSEWHERE if remote else None}
    return JSONResponse(answer, 201)


async def _uploaded(request: Request, entry: Entry) -> tuple[str, int]:
    try:
        async with request.form(max_files=1, max_fields=8) as form:
            file = _file_of(form)
            name = new_name(entry, str(form.get("name") or file.filename or ""))
            return name, await asyncio.to_thread(keep_lora, file.file, entry, name, settings().max_lora_bytes)
    except HTTPException as error:
        raise InvalidRequest("body", f"is not a readable form: {error.detail}") from error


def _file_of(form: FormData) -> UploadFile:
    if unknown := set(form) - {"file", "name"}:
        raise InvalidRequest(min(unknown), "is not a known field; known: file, name")
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise InvalidRequest("file", "is missing; send a safetensors file")
    return file


async def _fetched(request: Request, entry: Entry) -> tuple[str, int]:
    if len(await request.body()) > MAX_JSON_BYTES:
        raise InvalidRequest("body", f"is larger than {MAX_JSON_BYTES} bytes")
    wanted = await read_model(request, LoraFromHub)
    refuse_others(wanted.repo, settings().lora_repos)
    name = new_name(entry, wanted.name or wanted.file)
    return name, await asyncio.to_thread(_keep_fetched, wanted, entry, name)


def _keep_fetched(wanted: LoraFromHub, entry: Entry, name: str) -> int:
    max_bytes = settings().max_lora_bytes
    with fetch_lora(wanted.repo, wanted.file, wanted.revision, max_bytes).open("rb") as content:
        return keep_lora(content, entry, name, max_bytes)
