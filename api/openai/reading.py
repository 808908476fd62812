"""Bodies as forms: JSON, and multipart as OpenAI's clients write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from api.http.requests.parsing import gathered, plain_values, read_body
from api.openai.errors import WrongField
from api.openai.foreign_fields import Translated, translated
from api.openai.forms import UNSUPPORTED, EditForm, GenerationForm, ImagesForm
from api.openai.image_references import without_references
from core.errors import InvalidRequest, fields_named
from gateway.media.reading.decoded_kinds import CUTOUT
from gateway.media.reading.decoding import uploaded, uploaded_files
from gateway.media.reading.uploads import in_image_thread
from settings import settings

FormT = TypeVar("FormT", bound=ImagesForm)
ModelT = TypeVar("ModelT", bound=BaseModel)

IMAGES = ("image", "images")
"""Names for the images of an edit: `image` in OpenAI's forms, `images` in its JSON."""
FILES = (*IMAGES, "mask", "markup")
_MAY_BE_EMPTY = ("prompt", "negative_prompt")
_LORAS = "loras[]"


async def read_form(request: Request, form: type[FormT], deployment: str | None = None) -> FormT:
    """Read a request's body; `deployment` is the model that its address names. Raises InvalidRequest."""
    sent = translated(present(await read_body(request)), deployment)
    return await _form(sent, await with_loras(await _plain(sent.fields), request), form)


async def form_of(fields: Mapping[str, Any], form: type[FormT]) -> FormT:
    """Read the fields of a JSON object, files as base64 text. Raises InvalidRequest."""
    sent = translated(present(fields))
    return await _form(sent, await _plain(sent.fields), form)


def form_for(fields: Mapping[str, Any]) -> type[GenerationForm | EditForm]:
    """Return which form a request is, where its address does not tell."""
    return EditForm if not gathered(fields, IMAGES).keys().isdisjoint(IMAGES) else GenerationForm


def present(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Drop empty fields: many clients send all fields they know."""
    return {name: value for name, value in fields.items() if value != "" or name in _MAY_BE_EMPTY}


def form_from(fields: Mapping[str, Any], form: type[ModelT]) -> ModelT:
    """Return fields as a form. Raises WrongField."""
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise WrongField(error) from error


async def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Read the files of a body."""
    return await plain_values(without_references(fields), FILES)


async def _form(sent: Translated, fields: dict[str, Any], form: type[FormT]) -> FormT:
    names = {**sent.names, **({"image": "images"} if "images" in fields and "image" not in fields else {})}
    with fields_named(names):
        return (await _checked(fields, form)).hinted(*sent.hints).named(names)


async def _checked(fields: dict[str, Any], form: type[FormT]) -> FormT:
    for name in UNSUPPORTED.keys() & fields.keys():
        raise InvalidRequest(name, UNSUPPORTED[name])
    others = {name: value for name, value in fields.items() if name not in FILES}
    return form_from({**others, **await _decoded(fields)}, form)


async def _decoded(fields: Mapping[str, Any]) -> dict[str, Any]:
    images: list[bytes] = [file for name in IMAGES for file in fields.get(name, [])]
    masks: list[bytes] = fields.get("mask", [])
    if len(masks) > 1:
        raise InvalidRequest("mask", f"{len(masks)} were given; only one is allowed, for the first image")
    decoded: dict[str, Any] = {}
    if images:
        decoded["image"] = await in_image_thread(uploaded_files, images, "image", settings().max_image_px)
    if masks:
        decoded["mask"] = await in_image_thread(uploaded, masks[0], "mask", settings().max_image_px, CUTOUT)
    return decoded


async def with_loras(fields: dict[str, Any], request: Request) -> dict[str, Any]:
    """Rebuild the list of LoRAs, which clients send in a form as repeated `loras[][name]` and `loras[][scale]`."""
    keys = [name for name in fields if name.startswith(_LORAS)]
    if not keys:
        return fields
    # Starlette has parsed it already and returns the same form.
    form = await request.form()
    columns = {name.removeprefix(_LORAS).strip("[]") or "name": form.getlist(name) for name in keys}
    if len({len(column) for column in columns.values()}) > 1:
        raise InvalidRequest("loras", "in a form, give a scale to every LoRA or to none; or write the list as JSON")
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return {**{name: value for name, value in fields.items() if name not in keys}, "loras": rows}
