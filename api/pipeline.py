"""The contract of the text-to-image microservice: select a device, start one run in the background, fetch its image.

A run is a job, so it survives a restart of the server. Where the contract's document is silent, mistakes get 400, and
what is not possible at the moment 409. A model that is loaded at the start or on demand counts as initialized, so no
device needs to be selected first.
"""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from api.http.context import current_desk, current_gateway, current_storage
from api.http.contract_app import contract_app
from api.http.refusals import error_answer
from api.http.requests.parsing import read_model
from api.openapi_description.bodies import FILE, JSON, described_body
from api.openapi_description.headers import header_references
from api.operations.schemas import Healthy
from core.caller import current_caller
from core.device_names import CPU
from core.errors import Busy, DeadlineExceeded, Forbidden, InvalidRequest, JubakoError
from core.generation.draft import Draft
from core.generation.hints import hint_header, unknown_hint
from gateway.gateway import Gateway
from gateway.media.encoding import OutputFormat
from jobs.desk.order import Order
from jobs.errors import UnknownJob
from jobs.job import Job, JobState
from models.catalogue.resolving.deadlines import default_deadline_s
from models.catalogue.serving.served_models import text2image_model
from runners.state import ModelState, RunnerState
from settings import settings

RUNS = "text2image"
"""The batch that all of an owner's runs belong to; the contract always means the latest run."""
POLL_S = 0.1
RETRY_S = 5

_HINT: dict[str, Any] = {"headers": header_references(["X-Jubako-Hint"])}

router = APIRouter()
_start_lock = asyncio.Lock()
"""Keeps two simultaneous requests from both finding that nothing is running."""


class NotNow(JubakoError):
    code = "not_now"
    status = 409


class DeviceChoice(BaseModel):
    device: str = Field(description="CPU, GPU (the first accelerator), or a name such as cuda:1.", examples=["GPU"])


class Prompt(BaseModel):
    """What a run needs; clients may send more, which is ignored with a hint."""

    model_config = ConfigDict(extra="allow")

    prompt: str = Field(description="What to generate.", examples=["a red apple on a blue background"])


class Done(BaseModel):
    status: Literal["success"]
    message: str


class RunStatus(BaseModel):
    running: bool
    completed: bool
    status: Literal["error"] | None = Field(default=None, description="Of a run that failed; `message` says why.")
    message: str | None = None


class PipelineRefused(BaseModel):
    """An error."""

    status: Literal["error"]
    message: str


@router.post(
    "/pipeline/select-device",
    response_model=Done,
    openapi_extra=described_body(DeviceChoice, JSON, name="DeviceChoice", device="CPU"),
)
async def select_device(request: Request) -> JSONResponse:
    """Move the model to a device; answer once it is ready there."""
    choice = await read_model(request, DeviceChoice)
    limit_s = default_deadline_s(current_gateway().catalogue.get(_model()), settings())
    try:
        async with asyncio.timeout(limit_s):
            await _prepare(current_gateway(), _model(), choice.device)
    except TimeoutError as error:
        raise DeadlineExceeded(f"the model was not ready on {choice.device} within {limit_s:g} s") from error
    return _success(f"Pipeline prepared on {choice.device}.")


@router.post(
    "/pipeline/run",
    response_model=Done,
    responses={409: {}},
    openapi_extra=described_body(Prompt, JSON, name="Prompt", prompt="a red apple on a blue background"),
)
async def run(request: Request) -> JSONResponse:
    """Start a run with the model's defaults, unless one is in progress."""
    body = await read_model(request, Prompt)
    gateway = current_gateway()
    async with _start_lock:
        state = await gateway.runners[_model()].state()
        if not state.state.serves or _is_running(await _latest_run()):
            raise NotNow("Pipeline execution is already running or pipeline is not initialized.")
        draft = Draft(prompt=body.prompt, model=_model(), progress=True)
        unknown = unknown_hint(body.model_extra or {})
        order = Order(
            request=(await gateway.admit(draft, background=True)).hinted(*filter(None, [unknown])),
            output_format=OutputFormat.PNG,
            batch_id=_runs(),
        )
        await current_desk().submit(order)
    return _success("Pipeline execution started in background.")


@router.get("/pipeline/status", response_model=RunStatus, responses={200: _HINT})
async def status() -> JSONResponse:
    """Report the latest run. A failed run counts as completed, since clients poll for that, and says why it failed."""
    job = await _latest_run()
    if job is None:
        return JSONResponse({"running": False, "completed": False})
    body: dict[str, Any] = {"running": _is_running(job), "completed": job.state.final}
    if job.state.final and job.state is not JobState.COMPLETED:
        body |= error_body(_failed(job))
    return JSONResponse(body, headers=hint_header(job.hint))


@router.get(
    "/pipeline/image",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": FILE}}, **_HINT}, 409: {}},
)
async def image() -> Response:
    """Answer with the latest run's image."""
    job = await _latest_run()
    if job is None or not job.state.final:
        raise NotNow("Pipeline execution is not yet complete.")
    if job.state is not JobState.COMPLETED:
        raise _failed(job)
    if not job.results:
        raise NotNow("The image has been deleted.")
    result = job.results[0]
    data = await current_storage().get(result.key)
    return Response(data, media_type=result.media_type, headers=hint_header(job.hint))


@router.get("/health", response_model=Healthy)
async def health() -> JSONResponse:
    """Report that the server responds."""
    return JSONResponse({"status": "healthy"})


def pipeline_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error, in the document's shape."""
    return error_answer(error, error_body(error))


def error_body(error: JubakoError) -> dict[str, Any]:
    """Return the document's fields of an error."""
    return {"status": "error", "message": error.message}


pipeline_app = contract_app("Text-to-image microservice", "pipeline", router, pipeline_refusal, PipelineRefused)


async def _prepare(gateway: Gateway, model: str, name: str) -> None:
    """Wait until a model is ready on a device. Raises InvalidRequest, Forbidden, LoadFailed or Busy."""
    runner = gateway.runners[model]
    state = await runner.state()
    device = device_named(name, state)
    if state.state is not ModelState.READY or state.device != device:
        if not gateway.managed:
            raise Forbidden("this server does not let clients move models to other devices (JUBAKO_MANAGE)")
        state = await gateway.residency.load(model, device)
    while state.state is not ModelState.READY:
        if state.state is ModelState.FAILED:
            raise state.failure
        await asyncio.sleep(POLL_S)
        state = await runner.state()
    if state.device != device:
        raise Busy(f"the model was restarted, and is on {state.device}", RETRY_S)


def device_named(name: str, state: RunnerState) -> str:
    """Return the runner's device of this name. Raises InvalidRequest if there is none, Busy while the runner starts."""
    if state.devices is None:
        raise Busy("the model's process is starting; try again later", RETRY_S)
    devices = state.devices
    accelerators = [device for device in devices if device != CPU]
    known = {device.removesuffix(":0"): device for device in devices} | {"auto": (accelerators or devices)[0]}
    if accelerators:
        known["gpu"] = accelerators[0]
    wanted = name.strip().lower()
    if wanted not in known and wanted not in devices:
        shown = ", ".join(["CPU", *(["GPU"] if accelerators else []), *accelerators])
        raise InvalidRequest("device", f"there is no {name!r} on this machine; it has {shown}")
    return known.get(wanted, wanted)


async def _latest_run() -> Job | None:
    try:
        return (await current_desk().batch(_runs()))[-1]
    except UnknownJob:
        return None


def _runs() -> str:
    """Return the batch of the caller's runs, separate for each key."""
    owner = current_caller().owner
    return f"{RUNS}:{owner}" if owner else RUNS


def _failed(job: Job) -> NotNow:
    """Return the error of a run that ended without an image."""
    return NotNow(f"Pipeline execution failed: {job.error or 'it was cancelled'}")


def _is_running(job: Job | None) -> bool:
    return job is not None and not job.state.final


def _model() -> str:
    return text2image_model(settings(), current_gateway().catalogue)


def _success(message: str) -> JSONResponse:
    return JSONResponse({"status": "success", "message": message})
