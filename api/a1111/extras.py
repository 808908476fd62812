"""`/sdapi/v1/png-info`, which reads an image's parameters, and `/extra-single-image`, which upscales an image."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.a1111.schemas import HINTED, WRONG, A1111Extra, A1111Info
from api.http.context import current_gateway
from api.http.requests.forms import validated
from api.http.requests.parsing import read_fields
from api.http.responses.disconnects import unless_disconnected
from api.openapi_description.bodies import JSON, described_body
from core.deadline import Deadline
from core.errors import InvalidRequest
from core.generation.client_fields import ClientFields
from core.generation.hints import hint_header, unknown_hint
from core.generation.infotext import infotext, parsed_infotext
from core.generation.request import Lora
from core.generation.upscaling import UpscaleFactor, upscaled_size
from core.pixels.fitting import Fit, Size, placement
from core.pixels.upload import UploadedImage
from gateway.media.encoding import encode_preview
from gateway.media.reading.costs import PIXEL_BYTES
from gateway.media.reading.decoding import BUDGET, MAX_SIDE_PX, uploaded
from gateway.media.reading.texts import PARAMETERS, texts_of
from gateway.media.reading.uploads import in_image_thread
from gateway.upscaling import LANCZOS, Upscaler
from settings import settings

RESIZERS = {"None": None, LANCZOS: Image.Resampling.LANCZOS, "Nearest": Image.Resampling.NEAREST}
"""The upscalers that need no model."""
MOST_EXTRA_PX = 2**24
_COPIES = 3
_OFF = ("gfpgan_visibility", "codeformer_visibility", "extras_upscaler_2_visibility")
_QUIET = {"codeformer_weight", "upscaler_2", "upscale_first", "show_extras_results", *_OFF}

router = APIRouter(prefix="/sdapi/v1")


class InfoForm(ClientFields):
    """`POST /sdapi/v1/png-info`."""

    image: bytes = Field(repr=False, description="A file in base64.")


class ExtraForm(ClientFields):
    """`POST /sdapi/v1/extra-single-image`: the fields that have an effect here."""

    image: bytes = Field(repr=False, description="A file in base64.")
    upscaler_1: str = Field(
        default="None", description=f"One of {', '.join(RESIZERS)}, or the server's upscaling model."
    )
    resize_mode: int = Field(default=0, ge=0, le=1, description="0 scales by upscaling_resize, 1 to a size.")
    upscaling_resize: float = Field(default=2, gt=0, le=8, description="By how much.")
    upscaling_resize_w: int = Field(default=512, ge=1, le=MAX_SIDE_PX, description="Pixels.")
    upscaling_resize_h: int = Field(default=512, ge=1, le=MAX_SIDE_PX, description="Pixels.")
    upscaling_crop: bool = Field(default=True, description="Whether to crop it to a size of other proportions.")

    @property
    def size_field(self) -> str:
        """The name of the field that sets the target size."""
        return "upscaling_resize" if self.resize_mode == 0 else "upscaling_resize_w"


class _OurText(BaseModel):
    """Those of our JSON parameters that the web UI's text has too."""

    model_config = ConfigDict(extra="ignore", protected_namespaces=())

    prompt: str
    width: int
    height: int
    negative_prompt: str = ""
    num_inference_steps: int | None = None
    scheduler: str | None = None
    guidance_scale: float | None = None
    seed: int | None = None
    model: str | None = None
    strength: float | None = None
    clip_skip: int | None = None
    eta: float | None = None
    loras: tuple[Lora, ...] = ()


@router.post(
    "/png-info",
    response_model=A1111Info,
    responses=WRONG,
    openapi_extra=described_body(InfoForm, JSON, name="A1111Info"),
)
async def png_info(request: Request) -> JSONResponse:
    """Read the parameters that an image carries, of this server or of the web UI."""
    fields = await read_fields(request, ("image",))
    form = _form(fields, InfoForm)
    texts = await in_image_thread(texts_of, form.image, "image", settings().max_image_px)
    text = _as_infotext(texts.pop(PARAMETERS, ""))
    return JSONResponse({"info": text, "items": texts, "parameters": parsed_infotext(text) if text else {}})


@router.post(
    "/extra-single-image",
    response_model=A1111Extra,
    responses=HINTED,
    openapi_extra=described_body(ExtraForm, JSON, name="A1111Extra"),
)
async def extra_single_image(request: Request) -> JSONResponse:
    """Upscale or reduce an image."""
    fields = await read_fields(request, ("image",))
    for name in _OFF:
        if fields.get(name):
            raise InvalidRequest(name, "is not supported: there is one upscaler at a time, and no face restorer")
    known = {name: fields[name] for name in fields if name in ExtraForm.model_fields}
    gateway = current_gateway()
    form = _form(known, ExtraForm)
    work = await in_image_thread(_resizing, form, gateway.upscaler)
    await gateway.meter.charge_pixels(form.size_field, work.pixels)
    image = await unless_disconnected(request, _upscaled(work, gateway.upscaler))
    headers = hint_header(unknown_hint(fields.keys() - known.keys() - _QUIET))
    return JSONResponse({"html_info": "", "image": base64.b64encode(image).decode()}, headers=headers)


def _form(fields: dict[str, Any], kind: type[Any]) -> Any:
    files = fields.get("image", [])
    if len(files) != 1 or not files[0]:
        raise InvalidRequest("image", "is required: one file in base64")
    return validated({**fields, "image": files[0]}, kind)


def _as_infotext(text: str) -> str:
    try:
        return infotext(_OurText.model_validate_json(text).model_dump(mode="json", exclude_none=True))
    except ValidationError:
        return text


def upscaler_names(upscaler: Upscaler) -> list[str]:
    """Return what `upscaler_1` may be."""
    return list(dict.fromkeys((*RESIZERS, upscaler.name)))


async def _upscaled(work: _Resizing, upscaler: Upscaler) -> bytes:
    if work.factor is None:
        return await in_image_thread(work.file)
    deadline = Deadline(settings().request_timeout_s)
    async with deadline.limiting("while the image was upscaled"), upscaler.places:
        image = await upscaler.upscaled(await in_image_thread(work.upload.open), work.factor)
        return await in_image_thread(work.written, image)


@dataclass(frozen=True)
class _Resizing:
    """A checked upload, and how to resize it."""

    upload: UploadedImage
    size: Size
    resampling: Image.Resampling | None
    fit: Fit
    factor: UpscaleFactor | None = None
    """The model's part of the scaling; resampling does the rest."""

    @property
    def pixels(self) -> int:
        """Pixels decoded, made by the model and encoded, together."""
        decoded_px = self.upload.width * self.upload.height
        upscaled_px = 0 if self.factor is None else decoded_px * self.factor**2
        return decoded_px + upscaled_px + self.size[0] * self.size[1]

    def file(self) -> bytes:
        """Return it as a PNG. Blocks."""
        with BUDGET.of(self.pixels * PIXEL_BYTES * _COPIES):
            return self.written(self.upload.open())

    def written(self, image: Image.Image) -> bytes:
        """Resize an image to the target size and return it as a PNG. Blocks."""
        if self.resampling is None:
            return encode_preview(image)
        box = placement(image.size, self.size, self.fit).box
        return encode_preview(image.resize(self.size, self.resampling, box))


def _resizing(form: ExtraForm, upscaler: Upscaler) -> _Resizing:
    """Check the upload and its target size. Blocks. Raises InvalidRequest."""
    if form.upscaler_1 not in upscaler_names(upscaler):
        known = ", ".join(upscaler_names(upscaler))
        raise InvalidRequest("upscaler_1", f"{form.upscaler_1[:60]!r} is not here; known: {known}")
    upload = uploaded(form.image, "image", min(MOST_EXTRA_PX, settings().max_image_px), whole=True)
    resampling = RESIZERS.get(form.upscaler_1, Image.Resampling.LANCZOS)
    size = upload.size if resampling is None else _size(form, upload.size)
    if size[0] * size[1] > MOST_EXTRA_PX:
        reason = f"makes {size[0]}x{size[1]} pixels; at most {MOST_EXTRA_PX} are allowed"
        raise InvalidRequest(form.size_field, reason)
    fit = Fit.CROP if form.resize_mode == 1 and form.upscaling_crop else Fit.STRETCH
    factor = None if form.upscaler_1 in RESIZERS else _factor(upload.size, size, form.size_field)
    return _Resizing(upload, size, resampling, fit, factor)


def _factor(full: Size, wanted: Size, field: str) -> UpscaleFactor:
    """Return the smallest of the model's factors that makes an image large enough, or else the largest.

    Raises InvalidRequest, which names the field, when the upscaled image would be too large.
    """
    times = max(wanted[0] / full[0], wanted[1] / full[1])
    factor = UpscaleFactor.TWO if times <= UpscaleFactor.TWO else UpscaleFactor.FOUR
    upscaled_size(full, factor, field)
    return factor


def _size(form: ExtraForm, full: Size) -> Size:
    if form.resize_mode == 0:
        return max(1, round(full[0] * form.upscaling_resize)), max(1, round(full[1] * form.upscaling_resize))
    wanted = form.upscaling_resize_w, form.upscaling_resize_h
    if form.upscaling_crop:
        return wanted
    scale = min(wanted[0] / full[0], wanted[1] / full[1])
    return max(1, round(full[0] * scale)), max(1, round(full[1] * scale))
