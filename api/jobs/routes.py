"""The asynchronous contract: submit, follow, fetch and cancel jobs under `/api`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from starlette.applications import Starlette

from api.http.context import current_desk, current_gateway, current_storage, running_desk, server_address
from api.http.contract_app import contract_app
from api.http.refusals import refusal_body
from api.http.requests.idempotency import Idempotency, IdempotencyHeader
from api.http.requests.parsing import plain_values, read_fields, read_model
from api.http.requests.webhook_secret import own_webhook_secret
from api.http.responses.streams import event_text, pinged, stream
from api.jobs.answers import batch_status, deliveries_of, job_refusal, status_of, submitted
from api.jobs.forms import by_name
from api.jobs.orders import order_of
from api.jobs.schemas import (
    EVENTS,
    BatchStatus,
    JobPage,
    JobRefused,
    JobStatus,
    NoResult,
    ServerStatus,
    Submitted,
    SubmittedBatch,
    Webhook,
    WebhookSecret,
    described_kinds,
)
from api.openapi_description.bodies import JSON, described_body
from api.operations.status import server_status
from core.errors import InvalidRequest, JubakoError, UnknownModel, retry_fields
from core.generation.request import FILES, Priority
from jobs.desk.order import Order
from jobs.errors import NotEnded, UnknownJob
from jobs.job import Job, JobState

PING: Mapping[str, Any] = {"event": "ping"}
MAX_BATCH = 100
"""Requests in one batch."""
IDEMPOTENT: dict[int | str, dict[str, Any]] = {409: {}, 422: {}}
"""Error statuses that an idempotency key can cause."""


class Batch(BaseModel):
    """Many requests that share one id."""

    model_config = ConfigDict(extra="forbid")

    requests: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="Each with `model`, `task` (t2i, storyboard, ...) and the fields of that route; files as base64.",
    )


class JobChange(BaseModel):
    """What may be changed about a job until it is drawn."""

    model_config = ConfigDict(extra="forbid")

    priority: Annotated[Priority, BeforeValidator(by_name)] = Field(
        description="`high`, `normal` or `low`: the job moves to the end of that line."
    )


router = APIRouter()


@router.get("/api/health", response_model=ServerStatus)
async def health() -> JSONResponse:
    """Report whether the server, Redis and storage respond."""
    return JSONResponse(await server_status())


@router.get("/api/jobs", response_model=JobPage)
async def jobs(
    request: Request,
    status: JobState | None = None,
    before: datetime | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
) -> JSONResponse:
    """List jobs, newest first; `next_before` of one page is `before` of the next."""
    if before is not None and before.tzinfo is None:
        before = before.replace(tzinfo=UTC)
    page = await current_desk().page(status, before, limit)
    listed = [await status_of(job, current_storage(), server_address(request)) for job in page.jobs]
    following = page.next_before and page.next_before.isoformat()
    return JSONResponse({"jobs": listed, "next_before": following})


@router.get("/api/webhook-secret", response_model=WebhookSecret)
async def webhook_secret() -> JSONResponse:
    """Show what the receivers of your webhooks check signatures with; each key has its own."""
    return JSONResponse({"secret": own_webhook_secret()}, headers={"Cache-Control": "no-store"})


@router.post(
    "/api/batch",
    status_code=202,
    response_model=SubmittedBatch,
    responses=IDEMPOTENT,
    openapi_extra=described_body(Batch, JSON, name="Batch", requests=[{"task": "t2i", "prompt": "a red apple"}]),
)
async def batch(request: Request, idempotency_key: IdempotencyHeader = None) -> JSONResponse:
    """Submit many requests, all or none."""
    submitted_batch = await read_model(request, Batch)
    key = Idempotency.of(idempotency_key, request, submitted_batch.model_dump())
    jobs = await current_desk().earlier(**asdict(key)) or await _submit_batch(request, submitted_batch, key)
    session_ids = [job.id for job in jobs]
    return JSONResponse({"session_id": jobs[0].batch_id, "status": "pending", "session_ids": session_ids}, 202)


@router.post("/api/{model}/{kind}", response_model=Submitted, responses=IDEMPOTENT, openapi_extra=described_kinds())
async def submit(
    request: Request,
    model: str,
    kind: str,
    idempotency_key: IdempotencyHeader = None,
) -> JSONResponse:
    """Submit one request: `kind` is t2i, i2i, inpaint, edit, t2v, i2v or storyboard."""
    entry = current_gateway().catalogue.get(model)
    fields = await read_fields(request, FILES)
    key = Idempotency.of(idempotency_key, request, fields)
    jobs = await current_desk().earlier(**asdict(key))
    if not jobs:
        jobs = await current_desk().submit(await order_of(request, entry, kind, fields, **asdict(key)))
    return JSONResponse(submitted(jobs[0]))


@router.get("/api/{session_id}/status", response_model=JobStatus | BatchStatus)
async def status(request: Request, session_id: str) -> JSONResponse:
    """Report the status of a job or a batch."""
    try:
        job = await current_desk().get(session_id)
        answer = await status_of(job, current_storage(), server_address(request))
        return JSONResponse({**answer, "position": await current_desk().position(job)})
    except UnknownJob:
        members = await current_desk().batch(session_id)
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.get(
    "/api/{session_id}/result",
    status_code=307,
    response_class=RedirectResponse,
    responses={307: {"description": "The result is there."}, 409: {"model": NoResult}},
)
async def result(request: Request, session_id: str, index: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Redirect to the result; 409 while there is none."""
    answer = await status_of(await current_desk().get(session_id), current_storage(), server_address(request))
    if index >= len(answer["results"]):
        return JSONResponse({"detail": f"there is no result {index}", **answer}, 409)
    return RedirectResponse(answer["results"][index]["url"], 307)


@router.get("/api/{session_id}/webhook", response_model=Webhook)
async def webhook(session_id: str) -> JSONResponse:
    """List the attempts to deliver a job's webhook."""
    return JSONResponse(deliveries_of(await current_desk().get(session_id)))


@router.delete("/api/{session_id}/result", response_model=JobStatus | BatchStatus, responses={409: {}})
async def delete_result(request: Request, session_id: str) -> JSONResponse:
    """Delete the results of a job that has ended, or of all jobs of a batch; answer with the status afterwards."""
    try:
        job = await current_desk().delete_results(session_id)
        return JSONResponse(await status_of(job, current_storage(), server_address(request)))
    except UnknownJob:
        members = await current_desk().batch(session_id)
        if not all(job.state.final for job in members):
            raise NotEnded from None
        members = [await current_desk().delete_results(job.id) for job in members]
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.delete("/api/{session_id}", response_model=JobStatus | BatchStatus)
async def cancel(request: Request, session_id: str) -> JSONResponse:
    """Cancel a job that has not ended, or all jobs of a batch; answer with the status afterwards."""
    try:
        return JSONResponse(
            await status_of(await current_desk().cancel(session_id), current_storage(), server_address(request))
        )
    except UnknownJob:
        members = [await current_desk().cancel(job.id) for job in await current_desk().batch(session_id)]
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.patch(
    "/api/{session_id}",
    response_model=JobStatus | BatchStatus,
    responses={409: {}},
    openapi_extra=described_body(JobChange, JSON, name="JobChange", priority="high"),
)
async def change(request: Request, session_id: str) -> JSONResponse:
    """Change the priority of a job, or of a batch's jobs, of which nothing is drawn yet; answer with the new status."""
    priority = (await read_model(request, JobChange)).priority
    try:
        job = await current_desk().prioritize(session_id, priority)
        answer = await status_of(job, current_storage(), server_address(request))
        return JSONResponse({**answer, "position": await current_desk().position(job)})
    except UnknownJob:
        await current_desk().prioritize_batch(session_id, priority)
        members = await current_desk().batch(session_id)
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.get("/api/{session_id}/events", response_class=Response, responses={200: {"content": EVENTS}})
async def events(session_id: str) -> Response:
    """Follow a job as server-sent events, until it ends."""
    # Looked up before the stream begins, so that an unknown job is an ordinary 404.
    await current_desk().get(session_id)
    return stream(_event_texts(session_id), _error_text)


@router.websocket("/api/{session_id}/events")
async def events_socket(socket: WebSocket, session_id: str) -> None:
    """Follow a job over a WebSocket: one JSON object for each event."""
    await socket.accept()
    try:
        async with aclosing(pinged(current_desk().watch(session_id), PING)) as watched:
            async for event in watched:
                await socket.send_json(event)
    except JubakoError as error:
        await socket.send_json({"event": "error", **refusal_body(error), **retry_fields(error)})
    except WebSocketDisconnect:
        return
    await socket.close()


async def _event_texts(session_id: str) -> AsyncGenerator[str, None]:
    async with aclosing(current_desk().watch(session_id)) as watched:
        async for event in watched:
            data = {name: value for name, value in event.items() if name != "event"}
            yield event_text(event["event"], data)


def _error_text(error: JubakoError) -> str:
    return event_text("error", {**refusal_body(error), **retry_fields(error)})


async def _submit_batch(request: Request, batch: Batch, key: Idempotency) -> list[Job]:
    # The door has counted the batch as one request.
    await current_gateway().meter.count_further(len(batch.requests) - 1)
    batch_id = str(uuid.uuid4())
    members = enumerate(batch.requests)
    orders = [await _member_order(request, fields, number, batch_id, key) for number, fields in members]
    return await current_desk().submit(*orders)


async def _member_order(
    request: Request, fields: Mapping[str, Any], number: int, batch_id: str, key: Idempotency
) -> Order:
    """Return the order for one request of a batch. Raises InvalidRequest, which names that request."""
    try:
        own = await plain_values({n: v for n, v in fields.items() if n not in ("model", "task")}, FILES)
        entry = current_gateway().catalogue.get(str(fields.get("model", current_gateway().catalogue.default.id)))
        return await order_of(request, entry, str(fields.get("task", "t2i")), own, batch_id=batch_id, **asdict(key))
    except (InvalidRequest, UnknownModel) as error:
        # All other errors are limits or faults of the server, not mistakes in the request.
        raise InvalidRequest(f"requests.{number}", error.message) from error


@asynccontextmanager
async def _open_desk(_: Starlette) -> AsyncIterator[None]:
    await running_desk().open()
    try:
        yield
    finally:
        await running_desk().close()


desk_app = Starlette(lifespan=_open_desk)
"""Has no routes: it keeps the desk open while the server runs, however often the jobs contract is mounted."""

jobs_app = contract_app("Jobs", "jobs", router, job_refusal, JobRefused)
generator_app = contract_app("Image/Video Generation Server", "jobs", router, job_refusal, JobRefused)
"""Mounted under the contract's prefix, with the addresses that all contracts share at the root."""
for path in ("/", "/health"):
    generator_app.add_api_route(path, health, response_model=ServerStatus)
