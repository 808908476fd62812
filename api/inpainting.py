"""The contract of the inpainting server: an image, a mask and a prompt in a form; base64 pictures in the answer.

Pixels outside the mask are those of the upload, exactly: the picture is drawn in a size that fits the model, brought
to the upload's size, and laid under the mask there. `generate` does it for whoever has a gateway: this contract,
the RunPod handler, and sites that draw in their own process.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, UploadFile
from fastapi.responses import JSONResponse
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.context import current_gateway
from api.http.contract import contract_app
from api.http.leaving import unless_caller_leaves
from api.http.refusals import InvalidForm, error_answer
from client.dummy import dummy_pictures
from core.draft import Draft
from core.errors import InvalidRequest, JubakoError
from core.events import Event, Picture
from core.request import GenerationRequest, Method, Task
from gateway.gateway import Gateway
from gateway.media.decoding import decode_image, decode_mask
from gateway.media.encoding import OutputFormat, encode_result
from gateway.metrics import measured
from settings import settings

UNPROCESSABLE = 422
"""What FastAPI answers to a wrong field."""
FIELDS = {"num_images": "num_generations", "image": "input_image", "mask": "mask_image"}
"""Our names of fields, and the contract's."""
FILES = ("input_image", "mask_image")

router = APIRouter()
OnEvent = Callable[[Event], None]


class Asked(BaseModel):
    """What a caller may say. The bounds that depend on the model are checked later."""

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
    def of(cls, **fields: Any) -> Asked:
        """Raises InvalidForm, in the contract's names."""
        try:
            return cls(**fields)
        except ValidationError as error:
            raise InvalidForm(error) from error


async def generate(gateway: Gateway, asked: Asked, on_event: OnEvent | None = None) -> list[dict[str, str]]:
    """Draw, and return the contract's `results`; `on_event` gets the events on the way.

    Raises the JubakoError that ended it; one about a field names it as the contract does.
    """
    try:
        draft = await asyncio.to_thread(_draft, asked, gateway)
        if settings().dummy_generation:
            return await asyncio.to_thread(_played, asked)
        with measured() as measure:
            measure.task = Task.INPAINT
            request = await gateway.admit(draft)
            measure.model = request.model
            pictures = []
            async with aclosing(gateway.draw(request)) as events:
                async for event in events:
                    if isinstance(event, Picture):
                        pictures.append(event)
                    elif on_event is not None:
                        on_event(event)
        pictures.sort(key=lambda picture: picture.index)
        return await asyncio.to_thread(_results, request, draft, pictures)
    except InvalidRequest as error:
        if error.field not in FIELDS:
            raise
        raise InvalidRequest(FIELDS[error.field], error.reason) from error


@router.post("/generate-inpainting")
async def generate_inpainting(  # noqa: PLR0913  # the fields of a form
    request: Request,
    prompt: Annotated[str, Form(description="What to draw where the mask is white.")],
    input_image: UploadFile,
    mask_image: UploadFile,
    num_generations: Annotated[int, Form(ge=1, description="Pictures, with seed, seed + 1, ...")] = 1,
    seed: Annotated[int | None, Form(ge=0, description="Same seed, same pictures.")] = None,
    model: Annotated[str | None, Form(description="Default: the first served model that can.")] = None,
    method: Annotated[Method, Form(description="With the denoiser, or by optimising latents without one.")] = (
        Method.DIFFUSION
    ),
    iterations: Annotated[int | None, Form(ge=1, description="Of token-opt.")] = None,
    num_inference_steps: Annotated[int | None, Form(ge=1)] = None,
    guidance_scale: Annotated[float | None, Form(ge=0)] = None,
    strength: Annotated[float | None, Form(ge=0, le=1)] = None,
) -> JSONResponse:
    """Draw the white part of the mask anew; `data` is a PNG in base64."""
    asked = Asked.of(
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
    results = await unless_caller_leaves(request, generate(current_gateway(), asked))
    return JSONResponse({"results": results})


@router.get("/health")
async def health() -> dict[Literal["status"], str]:
    """Say that the server answers."""
    return {"status": "healthy"}


def inpainting_refusal(error: JubakoError) -> JSONResponse:
    """Answer to an error as FastAPI does: 422 with a list for wrong fields, else a sentence in `detail`."""
    if isinstance(error, InvalidRequest):
        mistake = {"type": "value_error", "loc": ["body", error.field], "msg": error.reason}
        return error_answer(error, {"detail": [mistake]}, UNPROCESSABLE)
    return error_answer(error, {"detail": error.message})


inpainting_app = contract_app("Inpainting server", router, inpainting_refusal)


def _draft(asked: Asked, gateway: Gateway) -> Draft:
    max_px = settings().max_image_px
    parameters = asked.model_dump(exclude={*FILES, "num_generations"})
    try:
        return Draft(
            **{**parameters, "model": asked.model or _first_able(gateway, asked.method)},
            task=Task.INPAINT,
            image=decode_image(asked.input_image, "input_image", max_px),
            mask=decode_mask(asked.mask_image, "mask_image", max_px),
            num_images=asked.num_generations,
            progress=True,
        )
    except ValidationError as error:
        raise InvalidForm(error) from error


def _first_able(gateway: Gateway, method: Method) -> str:
    """The first served model that inpaints in this way; when there is none, the default, which will be refused."""
    for entry in gateway.catalogue.entries.values():
        if Task.INPAINT in entry.tasks and (method is Method.DIFFUSION or entry.token_opt is not None):
            return entry.id
    return gateway.catalogue.default.id


def _results(request: GenerationRequest, draft: Draft, pictures: list[Picture]) -> list[dict[str, str]]:
    laid = [replace(picture, image=_under_mask(picture.image, draft)) for picture in pictures]
    files = [encode_result(request, picture, OutputFormat.PNG, quality=100) for picture in laid]
    return [_result(number, file) for number, file in enumerate(files, start=1)]


def _under_mask(drawn: Image.Image, draft: Draft) -> Image.Image:
    """The drawn picture where the mask is white, the upload where it is black, both in the upload's size."""
    assert draft.image is not None and draft.mask is not None, "inpainting has both"  # noqa: PT018
    resized = drawn.resize(draft.image.size, Image.Resampling.LANCZOS)
    return Image.composite(resized, draft.image, draft.mask)


def _played(asked: Asked) -> list[dict[str, str]]:
    files = dummy_pictures(asked.prompt, asked.input_image, asked.mask_image, asked.num_generations, asked.seed)
    return [_result(number, file) for number, file in enumerate(files, start=1)]


def _result(number: int, file: bytes) -> dict[str, str]:
    data = base64.b64encode(file).decode()
    return {"filename": f"generation_{number}.png", "content_type": "image/png", "data": data}
