"""The contract of the inpainting server: an image, a mask and a prompt in a form; base64 images in the answer.

Pixels outside the mask are exactly those of the upload: the image is generated at a size that fits the model, resized
to the upload's size, and copied where the mask is white; any upscaling comes after that. `generate` is shared by this
contract, the RunPod handler, and sites that generate in their own process.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.refusals import InvalidForm, error_answer
from api.http.requests.parsing import read_fields
from api.http.responses.disconnects import unless_disconnected
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from api.openapi_description.headers import header_references
from api.operations.schemas import Healthy
from client.inpainting.dummy import dummy_images
from core.deadline import Deadline
from core.errors import InvalidRequest, JubakoError, fields_named
from core.generation.client_fields import ClientFields, Seed
from core.generation.draft import Draft, InpaintingMethod, Iterations, Strength
from core.generation.events import Event, Picture, Started, Step
from core.generation.hints import hint_header, joined_hints, unknown_hint
from core.generation.request import Method, Task
from core.generation.tuning import GuidanceEnd, StepCaching
from core.generation.upscaling import UpscaleChoice, upscaled_size
from core.pixels.fitting import Fit, Size
from core.pixels.upload import UploadedImage
from gateway.gateway import Gateway
from gateway.inpainted_files import Upscaling, inpainted_files
from gateway.media.encoding import encode_preview
from gateway.media.reading.decoded_kinds import MASK
from gateway.media.reading.decoding import uploaded
from gateway.media.reading.uploads import in_image_thread
from gateway.metrics import measured
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import first_able
from settings import settings

UNPROCESSABLE = 422
"""FastAPI's status for a wrong field."""
NAMES = {
    "num_images": "num_generations",
    "image": "input_image",
    "mask": "mask_image",
    "width": "input_image",
    "height": "input_image",
    "task": "model",
}
"""The contract's names for a draft's fields, where they differ; images have the upload's size."""
FILES = ("input_image", "mask_image")


class InpaintingResult(BaseModel):
    filename: str
    content_type: str
    data: str = Field(description="The file in base64.")


class Inpainted(BaseModel):
    results: list[InpaintingResult]
    hint: str | None = Field(default=None, description="What the model ignored of the prompt.")


class InpaintingMistake(BaseModel):
    type: str
    loc: list[str | int]
    msg: str


class InpaintingRefused(BaseModel):
    """An error, as FastAPI says it: a list for a wrong field, else a text."""

    detail: str | list[InpaintingMistake]


router = APIRouter()
OnEvent = Callable[[Event], None]


class InpaintingForm(ClientFields):
    """What a client may send. Limits that depend on the model are checked later."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    prompt: str = Field(description="What to generate where the mask is white.")
    input_image: bytes = Field(repr=False, description="The image to repaint.")
    mask_image: bytes = Field(repr=False, description="White is repainted, black is kept, grey is blended.")
    num_generations: int = Field(default=1, ge=1, description="Images to generate, with seed, seed + 1, ...")
    seed: Seed = None
    model: str | None = Field(default=None, description="Default: the first served model that can inpaint.")
    method: InpaintingMethod = Method.DIFFUSION
    iterations: Iterations = None
    num_inference_steps: int | None = Field(default=None, ge=1, description="Denoising steps.")
    guidance_scale: float | None = Field(default=None, ge=0, description="How closely to follow the prompt.")
    strength: Strength = None
    step_cache: StepCaching = None
    guidance_end: GuidanceEnd = 1
    upscale: UpscaleChoice = None

    @classmethod
    def of(cls, **fields: Any) -> InpaintingForm:
        """Check the fields. Raises InvalidForm, with the contract's names of fields."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidForm(error) from error


@dataclass
class Hearing:
    """Collects what an answer says beside its images; passed to `generate` as `on_event`."""

    hint: str | None = None
    skipped_steps: int = 0
    """Of all images."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.hint = event.hint
        elif isinstance(event, Step):
            self.skipped_steps += event.skipped

    @property
    def field(self) -> dict[str, str]:
        """The answer's `hint` field, if there is a hint."""
        return {} if self.hint is None else {"hint": self.hint}


def form_of(fields: Mapping[str, Any]) -> InpaintingForm:
    """Return the form of fields, of which files are lists of bytes. Raises InvalidRequest."""
    for name in FILES:
        given = len(fields.get(name, ()))
        if given == 0:
            raise InvalidRequest(name, "is required: an image file, or its base64 encoding")
        if given > 1:
            raise InvalidRequest(name, f"{given} were given; only one is allowed")
    files = {name: fields[name][0] for name in FILES}
    return InpaintingForm.of(**{**fields, **files})


async def generate(gateway: Gateway, form: InpaintingForm, on_event: OnEvent | None = None) -> list[dict[str, str]]:
    """Generate, and return the contract's `results`; `on_event` gets all events but the images.

    Raises the JubakoError that ended it; one about a field names it as the contract does.
    """
    with fields_named(NAMES):
        draft = await in_image_thread(_draft, form, gateway)
        if settings().dummy_generation:
            return await in_image_thread(lambda: _results(_dummy_files(form, draft)))
        with measured() as measure:
            measure.task = Task.INPAINT
            upload, mask = _uploads(draft)
            request = await gateway.admit(draft, encoded_px=prod(_result_size(form, upload.size)))
            upscaling = None
            if form.upscale is not None:
                upscaling = Upscaling(gateway.upscaler, form.upscale, Deadline(request.deadline_s))
                request = request.hinted(*filter(None, [gateway.upscaler.hint]))
            measure.model = request.model
            images = []
            async with aclosing(gateway.draw(request, keep=False)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        images.append(event)
                    elif on_event is not None:
                        on_event(event)
        images.sort(key=lambda image: image.index)
        files = await inpainted_files(request, images, upload, mask, upscaling)
        return await in_image_thread(_results, files)


@router.post(
    "/generate-inpainting",
    response_model=Inpainted,
    responses={200: {"headers": header_references(["X-Jubako-Skipped-Steps", "X-Jubako-Hint"])}, 422: {}},
    openapi_extra=described_body(InpaintingForm, MULTIPART, JSON, name="Inpainting", task=Task.INPAINT),
)
async def generate_inpainting(request: Request) -> JSONResponse:
    """Repaint the white part of the mask; `data` is a PNG in base64."""
    fields = await read_fields(request, FILES)
    known = {name: fields[name] for name in fields if name in InpaintingForm.model_fields}
    heard = Hearing()
    results = await unless_disconnected(request, generate(current_gateway(), form_of(known), heard))
    heard.hint = joined_hints(unknown_hint(fields.keys() - known.keys()), heard.hint)
    headers = {"X-Jubako-Skipped-Steps": str(heard.skipped_steps), **hint_header(heard.hint)}
    return JSONResponse({"results": results, **heard.field}, headers=headers)


@router.get("/health")
async def health() -> Healthy:
    """Report that the server responds."""
    return Healthy(status="healthy")


def inpainting_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error as FastAPI does: 422 and a list for a wrong field, else a text in `detail`."""
    if isinstance(error, InvalidRequest):
        mistake = {"type": "value_error", "loc": ["body", error.field], "msg": error.reason}
        return error_answer(error, {"detail": [mistake]}, UNPROCESSABLE)
    return error_answer(error, {"detail": error.message})


inpainting_app = contract_app("Inpainting server", "inpainting", router, inpainting_refusal, InpaintingRefused)


def _draft(form: InpaintingForm, gateway: Gateway) -> Draft:
    max_px = settings().max_image_px
    try:
        return Draft.of(
            form,
            model=form.model or first_able(gateway.catalogue, partial(_inpaints, method=form.method)).id,
            task=Task.INPAINT,
            image=uploaded(form.input_image, "input_image", max_px, whole=True),
            mask=uploaded(form.mask_image, "mask_image", max_px, MASK, whole=True),
            num_images=form.num_generations,
            # The upload is upscaled as a whole, after the generated part was put into it.
            upscale=None,
            # Results have the upload's size.
            fit=Fit.STRETCH,
            progress=True,
        )
    except ValidationError as error:
        raise InvalidForm(error) from error


def _inpaints(entry: Entry, method: Method) -> bool:
    return Task.INPAINT in entry.tasks and (method is Method.DIFFUSION or entry.token_opt is not None)


def _result_size(form: InpaintingForm, size: Size) -> Size:
    """Return the size of results for an upload of this size. Raises InvalidRequest if it is too large."""
    return size if form.upscale is None else upscaled_size(size, form.upscale)


def _uploads(draft: Draft) -> tuple[UploadedImage, UploadedImage]:
    upload, mask = draft.image, draft.mask
    assert isinstance(upload, UploadedImage) and isinstance(mask, UploadedImage)  # noqa: PT018  # inpainting has both
    return upload, mask


def _dummy_files(form: InpaintingForm, draft: Draft) -> list[bytes]:
    image, mask = (encode_preview(each.open()) for each in _uploads(draft))
    return dummy_images(form.prompt, image, mask, form.num_generations, form.seed)


def _results(files: Iterable[bytes]) -> list[dict[str, str]]:
    return [_result(number, file) for number, file in enumerate(files, start=1)]


def _result(number: int, file: bytes) -> dict[str, str]:
    data = base64.b64encode(file).decode()
    return {"filename": f"generation_{number}.png", "content_type": "image/png", "data": data}
