"""The routes: a model's address, and the bare address of the server for the first model that can do it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.refusals import Refused, error_answer, refusal_body
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.generated_file import drawn_file
from api.hugging_face.drafting import draft_of, names_in
from api.hugging_face.forms import InferenceBody
from api.hugging_face.reading import Inference, read_inference
from api.openapi_description.bodies import FILE, JSON, described_body
from api.openapi_description.headers import FILE_HEADERS, header_references
from core.errors import Busy, JubakoError, fields_named
from core.generation.draft import Draft
from core.generation.request import Task
from gateway.gateway import Gateway
from gateway.media.encoding import PICTURE_FORMATS, VIDEO_FORMATS, OutputFormat, format_for
from gateway.metrics import measured
from runners.state import ModelState

router = APIRouter()
LOAD_S = 20
"""The `estimated_time` until a model is loaded. Clients expect the field, though nobody knows the time."""
_FORMATS = (*PICTURE_FORMATS, *VIDEO_FORMATS)
_BODY = described_body(
    InferenceBody,
    JSON,
    name="Inference",
    task=Task.TEXT_TO_IMAGE,
    inputs="a red apple on a blue background",
    parameters={"seed": 42},
)
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {each.media_type: {"schema": FILE} for each in _FORMATS},
        "headers": header_references(FILE_HEADERS),
    }
}


class NotLoaded(Busy):
    """The model is not loaded, and the client does not wait for it."""

    code = "model_not_loaded"

    def __init__(self, model: str) -> None:
        super().__init__(f"Model {model} is currently loading", LOAD_S)


@router.post("/", include_in_schema=False)
async def infer(request: Request) -> Response:
    """Generate with the first model that can do it: of a prompt an image or a video, of an image another."""
    return await _answer(request, None)


@router.post("/models/{model:path}", response_class=Response, responses=_FILES, openapi_extra=_BODY)
async def infer_with_model(request: Request, model: str) -> Response:
    """Generate with a model: of a prompt an image or a video, of an image another.

    `POST /` does the same with the first model that can.
    """
    return await _answer(request, model)


def inference_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error: this server's usual fields, and how long a model will take to load."""
    estimate = {"estimated_time": float(LOAD_S)} if isinstance(error, NotLoaded) else {}
    return error_answer(error, {**refusal_body(error), **estimate})


hugging_face_app = contract_app("Hugging Face inference", "hugging_face", router, inference_refusal, Refused)


async def _answer(request: Request, model: str | None) -> Response:
    inference = await read_inference(request)
    return await unless_disconnected(request, _file(inference, model, request.headers.get("accept", "")))


async def _file(inference: Inference, model: str | None, accepted: str) -> Response:
    gateway = current_gateway()
    with measured() as measure, fields_named(names_in(inference)):
        draft = draft_of(inference, gateway.catalogue, model)
        output_format = _output_format(inference, draft, accepted)
        if not inference.waits:
            await _check_loaded(gateway, str(draft.model))
        admitted = await gateway.admit(draft)
        measure.model, measure.task = admitted.model, admitted.task
        return await drawn_file(gateway, gateway.with_file_hints(admitted, output_format), output_format)


def _output_format(inference: Inference, draft: Draft, accepted: str) -> OutputFormat:
    wanted = inference.parameters.output_format
    if wanted is None:
        # Clients ask for PNG whatever the task.
        formats = VIDEO_FORMATS if draft.task.is_video else PICTURE_FORMATS
        wanted = next((each for each in formats if each.media_type in accepted), None)
    return format_for(draft.task, wanted)


async def _check_loaded(gateway: Gateway, model: str) -> None:
    if (await gateway.runners[model].state()).state is not ModelState.READY:
        raise NotLoaded(model)
