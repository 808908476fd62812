"""The asynchronous contract: submit, follow, fetch and cancel jobs under `/api`."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.applications import Starlette

from api.http.context import current_desk, current_gateway, current_storage, server_address
from api.http.contract import contract_app
from api.http.parsing import plain_values, read_fields
from api.http.refusals import refusal_body
from api.http.sse import event_text
from api.jobs.answers import batch_status, deliveries_of, job_refusal, status_of, submitted
from api.jobs.orders import FILES, order_of
from core.errors import Busy, InvalidRequest, JubakoError
from core.version import VERSION
from jobs.desk import Order
from jobs.errors import UnknownJob
from jobs.job import Job, JobState
from processes.closing_stream import ClosingResponse
from settings import settings

MAX_BATCH = 100
"""Requests in one batch."""


class Batch(BaseModel):
    """Many requests, followed by one id."""

    model_config = ConfigDict(extra="forbid")

    requests: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=MAX_BATCH,
        description="Each with `model`, `task` (t2i, storyboard, ...) and the fields of that route; files as base64.",
    )


router = APIRouter()


@router.get("/api/health")
async def health() -> JSONResponse:
    """Say whether the server, Redis and storage answer."""
    return JSONResponse(await health_body())


async def health_body() -> dict[str, Any]:
    """Return what programs read at `/` and `/api/health`."""
    records = await current_desk().is_reachable()
    stored = await current_storage().is_reachable()
    redis = "not configured" if settings().redis is None else "connected" if records else "disconnected"
    return {
        "status": "healthy" if records and stored else "degraded",
        "message": "Image/Video Generation Server is running",
        "version": VERSION,
        "redis": redis,
        "storage": "connected" if stored else "disconnected",
    }


@router.get("/api/jobs")
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


@router.post("/api/batch", status_code=202)
async def batch(request: Request, wanted: Batch) -> JSONResponse:
    """Submit many requests, all or none."""
    batch_id = str(uuid.uuid4())
    orders = [await _batched(request, fields, number, batch_id) for number, fields in enumerate(wanted.requests)]
    accepted: list[Job] = []
    try:
        for order in orders:
            accepted.append(await current_desk().submit(order))  # noqa: PERF401, since what is accepted is needed on failure
    except JubakoError:
        for job in accepted:
            await current_desk().cancel(job.id)
        raise
    members = [job.id for job in accepted]
    return JSONResponse({"session_id": batch_id, "status": "pending", "session_ids": members}, 202)


@router.post("/api/{model}/{kind}")
async def submit(
    request: Request,
    model: str,
    kind: str,
    idempotency_key: Annotated[str | None, Header(max_length=255)] = None,
) -> JSONResponse:
    """Submit one request: `kind` is t2i, i2i, inpaint, edit, t2v, i2v or storyboard."""
    entry = current_gateway().catalogue.get(model)
    fields = await read_fields(request, FILES)
    job = await current_desk().submit(await order_of(request, entry, kind, fields, idempotency_key=idempotency_key))
    return JSONResponse(submitted(job))


@router.get("/api/{session_id}/status")
async def status(request: Request, session_id: str) -> JSONResponse:
    """Say how a job, or a batch, is."""
    try:
        job = await current_desk().get(session_id)
        answer = await status_of(job, current_storage(), server_address(request))
        return JSONResponse({**answer, "position": await current_desk().position(job)})
    except UnknownJob:
        members = await current_desk().batch(session_id)
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.get("/api/{session_id}/result")
async def result(request: Request, session_id: str, index: Annotated[int, Query(ge=0)] = 0) -> Response:
    """Lead to the result; 409 while there is none."""
    answer = await status_of(await current_desk().get(session_id), current_storage(), server_address(request))
    if index >= len(answer["results"]):
        return JSONResponse({"detail": f"there is no result {index}", **answer}, 409)
    return RedirectResponse(answer["results"][index]["url"], 307)


@router.get("/api/{session_id}/webhook")
async def webhook(session_id: str) -> JSONResponse:
    """List the attempts to tell a job's webhook."""
    return JSONResponse(deliveries_of(await current_desk().get(session_id)))


@router.delete("/api/{session_id}")
async def cancel(request: Request, session_id: str) -> JSONResponse:
    """Cancel a job that has not ended, or all of a batch; the answer says how it is then."""
    try:
        return JSONResponse(
            await status_of(await current_desk().cancel(session_id), current_storage(), server_address(request))
        )
    except UnknownJob:
        members = [await current_desk().cancel(job.id) for job in await current_desk().batch(session_id)]
        return JSONResponse(await batch_status(session_id, members, current_storage(), server_address(request)))


@router.get("/api/{session_id}/events")
async def events(session_id: str) -> Response:
    """Follow a job as server-sent events, down to the one that ends it."""
    # Before the stream begins, so that an unknown job is an ordinary 404.
    await current_desk().get(session_id)
    return ClosingResponse(_followed(session_id), "text/event-stream")


@router.websocket("/api/{session_id}/events")
async def events_socket(socket: WebSocket, session_id: str) -> None:
    """Follow a job over a WebSocket: one JSON object for each event."""
    await socket.accept()
    try:
        async with aclosing(current_desk().watch(session_id)) as happenings:
            async for event in happenings:
                await socket.send_json(event)
    except JubakoError as error:
        await socket.send_json({"event": "error", **refusal_body(error)})
    except WebSocketDisconnect:
        return
    await socket.close()


async def _followed(session_id: str) -> AsyncGenerator[str, None]:
    async with aclosing(current_desk().watch(session_id)) as happenings:
        async for event in happenings:
            data = {name: value for name, value in event.items() if name != "event"}
            yield event_text(event["event"], data)


async def _batched(request: Request, fields: Mapping[str, Any], number: int, batch_id: str) -> Order:
    """One request of a batch as an order. Raises InvalidRequest that says which one is wrong."""
    try:
        own = await plain_values({n: v for n, v in fields.items() if n not in ("model", "task")}, FILES)
        entry = current_gateway().catalogue.get(str(fields.get("model", current_gateway().catalogue.default.id)))
        return await order_of(request, entry, str(fields.get("task", "t2i")), own, batch_id=batch_id)
    except Busy:
        # The caller's rate, or the server's, and no mistake in the request.
        raise
    except JubakoError as error:
        raise InvalidRequest(f"requests.{number}", error.message) from error


@asynccontextmanager
async def _working(_: Starlette) -> AsyncIterator[None]:
    await current_desk().open()
    try:
        yield
    finally:
        await current_desk().close()


desk_app = Starlette(lifespan=_working)
"""Has no routes: the desk works as long as the server runs, however often its contract is mounted."""

jobs_app = contract_app("Jobs", router, job_refusal)
generator_app = contract_app("Image/Video Generation Server", router, job_refusal)
"""For a prefix of its own, where the addresses of the root are this contract's too."""
for path in ("/", "/health"):
    generator_app.add_api_route(path, health)
