"""Typed APIs that answer with one file: an image or a video."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from _bentoml_sdk.io_models import IORootModel
from bentoml.validators import ContentType
from PIL import Image
from starlette.responses import Response

from api.http.refusals import refusal
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.generated_file import drawn_file
from api.typed.forms import PictureForm, TypedCall
from core.errors import InvalidRequest, JubakoError
from gateway.gateway import Gateway
from gateway.metrics import measured


class PictureFile(IORootModel[Image.Image]):
    """One image, as PNG, JPEG or WebP; the headers `X-Jubako-*` describe it."""


class VideoFile(IORootModel[Annotated[Path, ContentType("video/*")]]):
    """One video, as MP4, WebM or GIF; the headers `X-Jubako-*` describe it."""


async def answer_with_file(gateway: Gateway, call: TypedCall[PictureForm]) -> Response:
    """Generate what a call asks for and answer with the file, or with the error."""
    try:
        return await unless_disconnected(call.request, _file(gateway, call))
    except JubakoError as error:
        return refusal(error)


async def _file(gateway: Gateway, call: TypedCall[PictureForm]) -> Response:
    with measured() as measure:
        form = call.form
        measure.task = form.task
        if form.num_images != 1:
            raise InvalidRequest(
                "num_images", f"{form.num_images}, but this endpoint returns only 1; POST /stream returns several"
            )
        file_format = form.file_format
        admitted = gateway.with_file_hints(await gateway.admit(form.draft), file_format, form.quality)
        measure.model = admitted.model
        return await drawn_file(gateway, admitted, file_format, form.quality)
