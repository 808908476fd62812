"""The contract of the inpainting server: an image, a mask and a prompt in a form; base64 images in the answer.

Pixels outside the mask are exactly those of the upload: the image is generated at a size that fits the model, resized
to the upload's, and copied where the mask is white. `generate` serves all who have a gateway: this contract, the
RunPod handler, and sites that generate in their own process.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.disconnects import unless_disconnected
from api.http.refusals import InvalidForm, error_answer
from client.dummy import dummy_images
from core.client_fields import Seed
from core.draft import Draft
from core.errors import InvalidRequest, JubakoError
from core.events import Event, Picture, Started
from core.fitting import Fit
from core.hints import hint_header
from core.request import GenerationRequest, Method, Task
from core.upload import Upload
from gateway.gateway import Gateway
from gateway.media.decoding import uploaded
from gateway.media.inpainted import inpainted_png
from gateway.media.kinds import MASK
from gateway.media.uploads import in_image_thread
from gateway.metrics import measured
from settings import settings

UNPROCESSABLE = 422
"""FastAPI's status for a wrong field."""
FIELDS = {"num_images": "num_generations", "image": "input_image", "mask": "mask_image"}
"""The contract's names of fields, by ours."""
FILES = ("input_image", "mask_image")

router = APIRouter()
OnEvent = Callable[[Event], None]


class InpaintingForm(BaseModel):
    """What a client may send. Limits that depend on the model are checked later."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    prompt: str
    input_image: bytes = Field(repr=False)
    mask_image: bytes = Field(repr=False)
    num_generations: int = Field(default=1, ge=1)
    seed: int | None = None
    model: str | None = None
    method: Method = Method.DIFFUSION
    iterations: int | None = None
    num_inference_steps: int | None = None
    guidance_scale: float | None = None
    strength: float | None = None

    @classmethod
    def of(cls, **fields: Any) -> InpaintingForm:
        """Check the fields. Raises InvalidForm, with the contract's names of fields."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidForm(error) from error


@dataclass
class Hearing:
    """Listens for the hint of one request; an `on_event` of `generate`."""

    hint: str | None = None

    def __call__(self, event: Event) -> None:
        if isinstance(event, Started):
            self.hint = event.hint

    @property
    def field(self) -> dict[str, str]:
        """The field of an answer, where there is a hint."""
        return {} if self.hint is None else {"hint": self.hint}


async def generate(gateway: Gateway, form: InpaintingForm, on_event: OnEvent | None = None) -> list[dict[str, str]]:
    """Generate, and return the contract's `results`; `on_event` gets all events but the images.

    Raises the JubakoError that ended it; one about a field names it as the contract does.
    """
    try:
        draft = await in_image_thread(_draft, form, gateway)
        if settings().dummy_generation:
            return await in_image_thread(_dummy_results, form)
        with measured() as measure:
            measure.task = Task.INPAINT
            assert draft.image is not None, "inpainting has an image"
            request = await gateway.admit(draft, encoded_px=draft.image.width * draft.image.height)
            measure.model = request.model
            images = []
            async with aclosing(gateway.draw(request, keep=False)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        images.append(event)
                    elif on_event is not None:
                        on_event(event)
        images.sort(key=lambda image: image.index)
        return await in_image_thread(_results, request, draft, images)
    except InvalidRequest as error:
        if error.field not in FIELDS:
            raise
        raise InvalidRequest(FIELDS[error.field], error.reason) from error


@router.post("/generate-inpainting")
async def generate_inpainting(  # noqa: PLR0913  # the fields of a form
    request: Request,
    prompt: Annotated[str, Form(description="What to generate where the mask is white.")],
    input_image: UploadFile,
    mask_image: UploadFile,
    num_generations: Annotated[int, Form(ge=1, description="Images to generate, with seed, seed + 1, ...")] = 1,
    seed: Annotated[Seed, Form()] = None,
    model: Annotated[str | None, Form(description="Default: the first served model that can inpaint.")] = None,
    method: Annotated[
        Method, Form(description="diffusion uses the denoiser; token-opt optimises latents without one.")
    ] = Method.DIFFUSION,
    iterations: Annotated[int | None, Form(ge=1, description="Iterations of token-opt. Default: the model's.")] = None,
    num_inference_steps: Annotated[int | None, Form(ge=1)] = None,
    guidance_scale: Annotated[float | None, Form(ge=0)] = None,
    strength: Annotated[float | None, Form(ge=0, le=1)] = None,
) -> JSONResponse:
    """Repaint the white part of the mask; `data` is a PNG in base64."""
    form = InpaintingForm.of(
        prompt=prompt,
        input_image=await input_image.read(),
        mask_image=await mask_image.read(),
        num_generations=num_generations,
        seed=seed,
        model=model,
        method=method,
        iterations=iterations,
        num_inference_steps=num_inference_steps,
        guidance_scale=guidance_scale,
        strength=strength,
    )
    heard = Hearing()
    results = await unless_disconnected(request, generate(current_gateway(), form, heard))
    return JSONResponse({"results": results, **heard.field}, headers=hint_header(heard.hint))


@router.get("/health")
async def health() -> dict[Literal["status"], str]:
    """Report that the server responds."""
    return {"status": "healthy"}


def inpainting_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error as FastAPI does: 422 and a list for a wrong field, else a text in `detail`."""
    if isinstance(error, InvalidRequest):
        mistake = {"type": "value_error", "loc": ["body", error.field], "msg": error.reason}
        return error_answer(error, {"detail": [mistake]}, UNPROCESSABLE)
    return error_answer(error, {"detail": error.message})


inpainting_app = contract_app("Inpainting server", router, inpainting_refusal)


def _draft(form: InpaintingForm, gateway: Gateway) -> Draft:
    max_px = settings().max_image_px
    try:
        return Draft.of(
            form,
            model=form.model or _first_able(gateway, form.method),
            task=Task.INPAINT,
            image=uploaded(form.input_image, "input_image", max_px, whole=True),
            mask=uploaded(form.mask_image, "mask_image", max_px, MASK, whole=True),
            num_images=form.num_generations,
            # The whole image comes back, in its own size.
            fit=Fit.STRETCH,
            progress=True,
        )
    except ValidationError as error:
        raise InvalidForm(error) from error


def _first_able(gateway: Gateway, method: Method) -> str:
    """Return the first served model that inpaints with this method, or else the default, which will be refused."""
    for entry in gateway.catalogue.entries.values():
        if Task.INPAINT in entry.tasks and (method is Method.DIFFUSION or entry.token_opt is not None):
            return entry.id
    return gateway.catalogue.default.id


def _results(request: GenerationRequest, draft: Draft, images: list[Picture]) -> list[dict[str, str]]:
    upload, mask = draft.image, draft.mask
    assert isinstance(upload, Upload) and isinstance(mask, Upload)  # noqa: PT018  # inpainting has both
    files = (inpainted_png(request, image, upload, mask) for image in images)
    return [_result(number, file) for number, file in enumerate(files, start=1)]


def _dummy_results(form: InpaintingForm) -> list[dict[str, str]]:
    files = dummy_images(form.prompt, form.input_image, form.mask_image, form.num_generations, form.seed)
    return [_result(number, file) for number, file in enumerate(files, start=1)]


def _result(number: int, file: bytes) -> dict[str, str]:
    data = base64.b64encode(file).decode()
    return {"filename": f"generation_{number}.png", "content_type": "image/png", "data": data}
