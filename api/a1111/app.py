"""The routes of A1111's API, at `/sdapi/v1`, and those of its ControlNet extension."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from api.a1111 import extras
from api.a1111.answers import answer
from api.a1111.errors import A1111Refused, a1111_refusal
from api.a1111.requests.drafting import admit, names_in
from api.a1111.requests.forms import DrawForm, ImageForm, TextForm
from api.a1111.requests.unsupported import without_unsupported
from api.a1111.schemas import HINTED, A1111Images
from api.a1111.session import lists, options, progress
from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.requests.forms import validated
from api.http.requests.parsing import read_fields
from api.http.responses.disconnects import unless_disconnected
from api.openapi_description.bodies import JSON, described_body
from core.errors import fields_named
from core.generation.hints import hint_header
from core.generation.request import Task
from gateway.media.reading.decoded_kinds import MASK
from gateway.media.reading.decoding import uploaded_files
from gateway.media.reading.uploads import in_image_thread
from gateway.metrics import measured
from settings import settings

TITLE = "A1111's web UI"
FILES = ("init_images", "mask")

router = APIRouter()


@router.post(
    "/sdapi/v1/txt2img",
    response_model=A1111Images,
    responses=HINTED,
    openapi_extra=described_body(
        TextForm, JSON, name="A1111Text", task=Task.TEXT_TO_IMAGE, prompt="a (red:1.2) apple on a blue background"
    ),
)
async def txt2img(request: Request) -> JSONResponse:
    """Generate images from a prompt."""
    return await _answer(request, TextForm)


@router.post(
    "/sdapi/v1/img2img",
    response_model=A1111Images,
    responses=HINTED,
    openapi_extra=described_body(ImageForm, JSON, name="A1111Image", task=Task.IMAGE_TO_IMAGE),
)
async def img2img(request: Request) -> JSONResponse:
    """Generate images from an image; with a mask, only where it is white."""
    return await _answer(request, ImageForm)


for each in (progress.router, options.router, lists.router, lists.extension, extras.router):
    router.include_router(each)
a1111_app = contract_app(TITLE, "a1111", router, a1111_refusal, A1111Refused)


async def _answer(request: Request, kind: type[DrawForm]) -> JSONResponse:
    fields = await read_fields(request, FILES)
    body, hint = await unless_disconnected(request, _body(fields, kind))
    return JSONResponse(body, headers=hint_header(hint))


async def _body(fields: dict[str, Any], kind: type[DrawForm]) -> tuple[dict[str, Any], str | None]:
    with measured() as measure:
        known, hints = without_unsupported(fields, kind.model_fields)
        form = await in_image_thread(_form, known, kind)
        gateway = current_gateway()
        admitted = await admit(gateway, form, hints)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        with fields_named(names_in(form)):
            return await answer(gateway, admitted, "img2img" if kind is ImageForm else "txt2img")


def _form(fields: dict[str, Any], kind: type[DrawForm]) -> DrawForm:
    """Check the fields, files included. Blocks. Raises InvalidRequest."""
    files = {name: [file for file in fields[name] if file] for name in FILES if name in fields}
    others = {name: value for name, value in fields.items() if name not in files}
    most = settings().max_image_px
    images, masks = files.get("init_images", []), files.get("mask", [])
    # What is around a mask is taken from the image in its full size.
    whole = bool(masks)
    if images:
        others["init_images"] = uploaded_files(images, "init_images", most, whole=whole)
    if masks:
        (others["mask"],) = uploaded_files(masks, "mask", most, MASK, most=1, whole=whole)
    return validated(others, kind)
