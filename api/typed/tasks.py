"""The typed APIs that answer with a file as BentoML's tasks: `client.text_to_image.submit(...)`, then `get`.

BentoML would keep tasks in a database of its own, within one process, and could not cancel them. Here a task is a job,
like every other work that outlives its connection; these routes have BentoML's addresses and fields.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from _bentoml_sdk.io_models import IODescriptor
from _bentoml_sdk.method import APIMethod
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from api.describing.bodies import FILE, JSON, MULTIPART, described_body
from api.http.context import current_desk, current_gateway, current_storage, server_address
from api.http.contract_app import contract_app
from api.http.refusals import Refused, refusal
from api.typed.forms import Edit, ImageToImage, ImageToVideo, Inpaint, PictureForm, TextToImage, TextToVideo
from core.errors import InvalidRequest
from core.generation.hints import hint_header
from core.generation.request import GenerationRequest
from gateway.media.encoding import PICTURE_FORMATS, VIDEO_FORMATS
from jobs.desk.order import Order
from jobs.inputs import restored_fields
from jobs.job import GENERATION, Job, JobState

FORMS: dict[str, type[PictureForm]] = {
    "text_to_image": TextToImage,
    "image_to_image": ImageToImage,
    "inpaint": Inpaint,
    "edit": Edit,
    "text_to_video": TextToVideo,
    "image_to_video": ImageToVideo,
}
"""By the names of the APIs."""
STATUSES = {
    JobState.PENDING: "pending",
    JobState.PROCESSING: "in_progress",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "canceled",
}
"""What BentoML calls the states of jobs."""


class TaskMethod(APIMethod):
    """A typed API that clients may also submit, although BentoML itself keeps no tasks."""

    def schema(self) -> dict[str, Any]:
        return {**super().schema(), "is_task": True}


def task_api(
    input_spec: type[IODescriptor], output_spec: type[IODescriptor]
) -> Callable[[Callable[..., Any]], TaskMethod]:
    """Return the decorator of such an API's method, in place of `bentoml.api`."""

    def decorated(method: Callable[..., Any]) -> TaskMethod:
        return TaskMethod(method, input_spec=input_spec, output_spec=output_spec)

    return decorated


class TaskState(BaseModel):
    task_id: str
    status: Literal["pending", "in_progress", "completed", "failed", "canceled"]
    created_at: str
    executed_at: str | None = Field(description="When it ended.")


TaskId = Annotated[str, Query(max_length=200, description="The task_id of the submission's answer.")]
_MEDIA = {each.media_type: {"schema": FILE} for each in (*PICTURE_FORMATS, *VIDEO_FORMATS)}


async def _get(task_id: TaskId) -> Response:
    """Answer with a task's image or video; 400 while there is none."""
    job = await _task(task_id)
    if not job.results:
        why = f": {job.error}" if job.error else ""
        raise InvalidRequest("task_id", f"task {job.id} has no result: it is {STATUSES[job.state]}{why}")
    result = job.results[0]
    headers = {"X-Jubako-Model": job.model, "X-Jubako-Seed": str(result.seed), **hint_header(job.hint)}
    return Response(await current_storage().get(result.key), headers=headers, media_type=result.media_type)


async def _status(task_id: TaskId) -> JSONResponse:
    """Report how far a task is."""
    return _state(await _task(task_id))


async def _cancel(task_id: TaskId) -> JSONResponse:
    """Cancel a task that has not ended."""
    return _state(await current_desk().cancel((await _task(task_id)).id))


async def _retry(request: Request, task_id: TaskId) -> JSONResponse:
    """Submit the same again, with the same seed."""
    job = await _task(task_id)
    fields = await restored_fields(job.request, job.inputs, current_storage())
    again = GenerationRequest.model_validate(fields)
    await current_gateway().meter.charge(again)
    order = Order(again, job.output_format, quality=job.quality, base_url=server_address(request))
    return _state(*(await current_desk().submit(order)))


def _submission(form: type[PictureForm]) -> Callable[[Request], Any]:
    async def submit(request: Request) -> JSONResponse:
        """Hand a request in, as a job that outlives its connection."""
        call = (await form.from_http_request(request, None)).form
        if call.num_images != 1:
            raise InvalidRequest("num_images", f"{call.num_images}, but a task returns only 1; a job returns several")
        draft = call.draft.model_copy(update={"progress": True})
        admitted = (await current_gateway().admit(draft, background=True)).hinted(*call.idle_hints)
        order = Order(
            admitted,
            call.file_format,
            quality=call.quality,
            base_url=server_address(request),
            repeatable=call.seed is not None,
        )
        return _state(*(await current_desk().submit(order)))

    return submit


async def _task(task_id: str) -> Job:
    job = await current_desk().get(task_id)
    if job.kind != GENERATION:
        raise InvalidRequest("task_id", f"job {job.id} is a {job.kind}, and no task of this API")
    return job


def _state(job: Job) -> JSONResponse:
    ended = job.finished_at and job.finished_at.isoformat()
    state = {"task_id": job.id, "status": STATUSES[job.state], "created_at": job.created_at.isoformat()}
    return JSONResponse({**state, "executed_at": ended})


def _router() -> APIRouter:
    router = APIRouter()
    for name, form in FORMS.items():
        media = (JSON,) if name.startswith("text") else (MULTIPART, JSON)
        body = described_body(form, *media, name=f"Submitted{form.__name__}", task=form.model_fields["task"].default)
        for part, method, route in (("submit", "POST", _submission(form)), ("retry", "POST", _retry)):
            extra = body if part == "submit" else None
            router.add_api_route(
                f"/{name}/{part}",
                route,
                methods=[method],
                name=f"{name}_{part}",
                response_model=TaskState,
                openapi_extra=extra,
            )
        router.add_api_route(f"/{name}/status", _status, name=f"{name}_status", response_model=TaskState)
        router.add_api_route(
            f"/{name}/cancel", _cancel, methods=["PUT"], name=f"{name}_cancel", response_model=TaskState
        )
        router.add_api_route(
            f"/{name}/get",
            _get,
            name=f"{name}_get",
            response_class=Response,
            responses={200: {"content": _MEDIA}},
        )
    return router


tasks_app = contract_app("BentoML's tasks", "tasks", _router(), refusal, Refused)
"""For `/text_to_image/submit` and the like; the typed APIs themselves are BentoML's own routes."""
