"""The typed APIs that answer with a file as BentoML's tasks: `client.text_to_image.submit(...)`, then `get`.

BentoML would keep tasks in a database of its own, within one process, and could not cancel them. Here a task is a job,
like all work that outlives its connection; these routes have BentoML's addresses and fields.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from _bentoml_sdk.io_models import IODescriptor
from _bentoml_sdk.method import APIMethod
from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field

from api.http.context import current_desk, current_gateway, current_storage, server_address
from api.http.contract_app import contract_app
from api.http.refusals import Refused, refusal
from api.http.responses.generated_file import sound_header
from api.openapi_description.bodies import FILE, JSON, MULTIPART, described_body
from api.typed.forms import Edit, ImageToImage, ImageToVideo, Inpaint, PictureForm, TextToImage, TextToVideo
from core.errors import InvalidRequest
from core.generation.hints import hint_header
from core.generation.request import GenerationRequest, Task
from gateway.media.encoding import PICTURE_FORMATS, VIDEO_FORMATS, OutputFormat
from gateway.repeating import repeated
from jobs.desk.caller_desk import CallerDesk
from jobs.desk.order import Order
from jobs.inputs import restored_fields
from jobs.job import GENERATION, Job, JobState
from storage.errors import NotStored

FORMS: dict[str, type[PictureForm]] = {
    "text_to_image": TextToImage,
    "image_to_image": ImageToImage,
    "inpaint": Inpaint,
    "edit": Edit,
    "text_to_video": TextToVideo,
    "image_to_video": ImageToVideo,
}
"""The forms by the names of their APIs."""
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
    """Return the decorator for a typed API that also takes tasks, in place of `bentoml.api`."""

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


@dataclass(frozen=True)
class TaskRoutes:
    """The task routes of one typed API; tasks of the other APIs are unknown there."""

    form: type[PictureForm]

    async def get(self, task_id: TaskId) -> Response:
        """Answer with a task's image or video; 400 while there is none."""
        job = await self._desk.get(task_id)
        if not job.results:
            why = f": {job.error}" if job.error else ""
            raise InvalidRequest("task_id", f"task {job.id} has no result: it is {STATUSES[job.state]}{why}")
        result = job.results[0]
        headers = {
            "X-Jubako-Model": job.model,
            "X-Jubako-Seed": str(result.seed),
            "X-Jubako-Skipped-Steps": str(result.skipped_steps),
            "X-Jubako-Tiled": str(result.tiled).lower(),
            **sound_header(job.task, result.sound),
            **hint_header(job.hint),
        }
        return Response(await current_storage().get(result.key), headers=headers, media_type=result.media_type)

    async def status(self, task_id: TaskId) -> JSONResponse:
        """Report how far a task is."""
        return _state(await self._desk.get(task_id))

    async def cancel(self, task_id: TaskId) -> JSONResponse:
        """Cancel a task that has not ended."""
        return _state(await self._desk.cancel(task_id))

    async def retry(self, request: Request, task_id: TaskId) -> JSONResponse:
        """Submit the same again, with the same seed."""
        job = await self._desk.get(task_id)
        gateway = current_gateway()
        admitted = await gateway.admit(repeated(await _earlier_request(job)), background=True)
        output_format = OutputFormat(job.output_format)
        order = Order(
            gateway.with_file_hints(admitted, output_format, job.quality),
            output_format,
            quality=job.quality,
            base_url=server_address(request),
            keeps_inputs=True,
        )
        return _state(*(await current_desk().submit(order)))

    async def submit(self, request: Request) -> JSONResponse:
        """Submit a request as a job, which outlives its connection."""
        call = (await self.form.from_http_request(request, None)).form
        if call.num_images != 1:
            raise InvalidRequest("num_images", f"{call.num_images}, but a task returns only 1; a job returns several")
        draft = call.draft.model_copy(update={"progress": True})
        gateway = current_gateway()
        admitted = await gateway.admit(draft, background=True)
        order = Order(
            gateway.with_file_hints(admitted, call.file_format, call.quality),
            call.file_format,
            quality=call.quality,
            base_url=server_address(request),
            repeatable=call.seed is not None,
            keeps_inputs=True,
        )
        return _state(*(await current_desk().submit(order)))

    @property
    def task(self) -> Task:
        task: Task = self.form.model_fields["task"].default
        return task

    @property
    def _desk(self) -> CallerDesk:
        return current_desk(self._is_own)

    def _is_own(self, job: Job) -> bool:
        """Whether a job could be one of these tasks: this API's task, and a single result."""
        return job.kind == GENERATION and job.task == self.task and job.request["num_images"] == 1


async def _earlier_request(job: Job) -> GenerationRequest:
    """Return the request of an earlier task, with its images. Raises InvalidRequest when they are gone."""
    if job.inputs and not job.keeps_inputs:
        raise _no_inputs(job)
    try:
        fields = await restored_fields(job.request, job.inputs, current_storage())
    except NotStored as error:
        raise _no_inputs(job) from error
    return GenerationRequest.model_validate(fields)


def _no_inputs(job: Job) -> InvalidRequest:
    return InvalidRequest("task_id", f"the images of task {job.id} are no longer kept; submit them again")


def _state(job: Job) -> JSONResponse:
    ended = job.finished_at and job.finished_at.isoformat()
    state = {"task_id": job.id, "status": STATUSES[job.state], "created_at": job.created_at.isoformat()}
    return JSONResponse({**state, "executed_at": ended})


def _router() -> APIRouter:
    router = APIRouter()
    for name, form in FORMS.items():
        routes = TaskRoutes(form)
        media = (JSON,) if name.startswith("text") else (MULTIPART, JSON)
        body = described_body(form, *media, name=f"Submitted{form.__name__}", task=routes.task)
        answers: dict[str, Any] = {"response_model": TaskState}
        file: dict[str, Any] = {"response_class": Response, "responses": {200: {"content": _MEDIA}}}
        for part, method, route, options in (
            ("submit", "POST", routes.submit, {**answers, "openapi_extra": body}),
            ("retry", "POST", routes.retry, answers),
            ("status", "GET", routes.status, answers),
            ("cancel", "PUT", routes.cancel, answers),
            ("get", "GET", routes.get, file),
        ):
            router.add_api_route(f"/{name}/{part}", route, methods=[method], name=f"{name}_{part}", **options)
    return router


tasks_app = contract_app("BentoML's tasks", "tasks", _router(), refusal, Refused)
"""Serves `/text_to_image/submit` and the like; the typed APIs themselves are BentoML's own routes."""
