"""The routes of predictions: Replicate's under `/replicate/v1`, Cog's at `/predictions`."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import JSONResponse

from api.http.context import current_desk, current_gateway, current_storage, server_address
from api.http.contract_app import contract_app
from api.http.requests.parsing import read_model
from api.http.requests.webhook_secret import own_webhook_secret
from api.http.responses.waiting import ended, ended_or_late
from api.openapi_description.bodies import JSON, described_body
from api.predictions.answers import (
    COG,
    FOLDER,
    REPLICATE,
    Prediction,
    PredictionRefused,
    Predictions,
    WebhookKey,
    is_prediction,
    prediction_of,
    prediction_refusal,
    prediction_with_files,
)
from api.predictions.forms import PredictionBody, names_in, read_input
from core.deadline import Deadline
from core.errors import InvalidRequest, fields_named
from gateway.media.encoding import format_for
from jobs.desk.caller_desk import CallerDesk
from jobs.desk.order import Order
from jobs.job import Job, JobState
from models.catalogue.entry import Entry
from models.catalogue.serving.choosing import entry_named

PAGE = 100
"""Predictions on one page, as on Replicate."""
LONGEST_WAIT_S = 60
_WAIT = re.compile(r"wait(?:=(\d{1,4}))?")
PreferHeader = Annotated[
    str | None, Header(description="`wait` or `wait=SECONDS`, at most 60, holds the answer until it is done.")
]

router = APIRouter()
BODY = described_body(PredictionBody, JSON, name="Prediction", input={"prompt": "a red apple on a blue background"})


@router.post(f"{FOLDER}/predictions", status_code=201, response_model=Prediction, openapi_extra=BODY)
async def create(request: Request, prefer: PreferHeader = None) -> JSONResponse:
    """Begin a prediction with the model that `version` names."""
    return await _created(request, None, prefer)


@router.post(
    f"{FOLDER}/models/{{owner}}/{{name}}/predictions", status_code=201, response_model=Prediction, openapi_extra=BODY
)
async def create_with(request: Request, owner: str, name: str, prefer: PreferHeader = None) -> JSONResponse:
    """Begin a prediction with a model by its name, with any owner, or by its repository on the hub."""
    named = current_gateway().catalogue.named(f"{owner}/{name}")
    return await _created(request, name if named is None else named.id, prefer)


@router.get(f"{FOLDER}/predictions", response_model=Predictions)
async def list_predictions(request: Request, cursor: Annotated[str | None, Query()] = None) -> JSONResponse:
    """List predictions, newest first."""
    page = await _desk().page(None, _moment(cursor), PAGE)
    results = [await _shown(request, job) for job in page.jobs]
    address = f"{server_address(request)}{FOLDER}/predictions"
    following = page.next_before and f"{address}?cursor={page.next_before.timestamp()}"
    return JSONResponse({"results": results, "next": following, "previous": None})


@router.get(f"{FOLDER}/predictions/{{prediction_id}}", response_model=Prediction)
async def prediction(request: Request, prediction_id: str) -> JSONResponse:
    """Report a prediction."""
    return JSONResponse(await _shown(request, await _desk().get(prediction_id)))


@router.post(f"{FOLDER}/predictions/{{prediction_id}}/cancel", response_model=Prediction)
async def cancel(request: Request, prediction_id: str) -> JSONResponse:
    """Cancel a prediction that has not ended."""
    return JSONResponse(await _shown(request, await _desk().cancel(prediction_id)))


@router.post("/predictions", response_model=Prediction, responses={202: {"model": Prediction}}, openapi_extra=BODY)
async def cog(request: Request, prefer: PreferHeader = None) -> JSONResponse:
    """Predict as a container of Cog does: the answer has the files, unless `Prefer: respond-async`."""
    waits = prefer != "respond-async"
    job = await _submitted(request, None, COG, background=not waits)
    if not waits:
        return JSONResponse(await prediction_of(job, current_storage(), server_address(request), ""), 202)
    job = await ended(request, _desk(), job, Deadline(job.request["deadline_s"]))
    return JSONResponse(await prediction_with_files(job, current_storage(), server_address(request)))


@router.get("/predictions/{prediction_id}", response_model=Prediction)
async def cog_prediction(request: Request, prediction_id: str) -> JSONResponse:
    """Report a prediction, its files as addresses."""
    job = await _desk().get(prediction_id)
    return JSONResponse(await prediction_of(job, current_storage(), server_address(request), ""))


@router.post("/predictions/{prediction_id}/cancel", response_model=Prediction)
async def cancel_cog(request: Request, prediction_id: str) -> JSONResponse:
    """Cancel a prediction that has not ended."""
    job = await _desk().cancel(prediction_id)
    return JSONResponse(await prediction_of(job, current_storage(), server_address(request), ""))


@router.get(f"{FOLDER}/webhooks/default/secret", response_model=WebhookKey)
async def webhook_key() -> JSONResponse:
    """Show what the receivers of your webhooks check signatures with; each key has its own."""
    return JSONResponse({"key": own_webhook_secret()}, headers={"Cache-Control": "no-store"})


predictions_app = contract_app("Replicate's predictions", "predictions", router, prediction_refusal, PredictionRefused)


async def _created(request: Request, model: str | None, prefer: str | None) -> JSONResponse:
    job = await _submitted(request, model, REPLICATE, background=True)
    wait = _WAIT.search(prefer or "")
    if wait is None:
        return JSONResponse(await _shown(request, job), 201)
    job = await ended_or_late(request, _desk(), job, min(LONGEST_WAIT_S, int(wait[1] or LONGEST_WAIT_S)))
    # Show an unfinished job as not begun: clients would take any other state for the end and stop polling.
    seen = job if job.state.final else job.changed(state=JobState.PENDING)
    return JSONResponse(await _shown(request, seen), 201)


async def _submitted(request: Request, model: str | None, webhook_shape: str, *, background: bool) -> Job:
    body = await read_model(request, PredictionBody)
    entry = _entry(model or body.version)
    with fields_named({**names_in(body.input), "task": "version" if model is None else "model"}):
        given = await read_input(body.input, entry)
        output_format = format_for(given.form.task, given.form.output_format)
        gateway = current_gateway()
        admitted = await gateway.admit(given.draft, background=background)
        hinted = admitted.hinted(*filter(None, (given.hint, body.webhook_hint)))
        order = Order(
            request=gateway.with_file_hints(hinted, output_format, given.form.quality),
            output_format=output_format,
            quality=given.form.quality,
            base_url=server_address(request),
            webhook_url=body.webhook,
            webhook_shape=webhook_shape,
            repeatable=given.form.seed is not None,
        )
        return (await current_desk().submit(order))[0]


def _entry(name: str | None) -> Entry:
    """Return a model by a name such as `tiny`, `owner/tiny` or `owner/tiny:version`. Raises UnknownModel."""
    catalogue = current_gateway().catalogue
    if name is None:
        return catalogue.default
    plain = name.partition(":")[0]
    return entry_named(catalogue, name, plain, plain.rpartition("/")[2])


def _desk() -> CallerDesk:
    return current_desk(is_prediction)


async def _shown(request: Request, job: Job) -> dict[str, Any]:
    return await prediction_of(job, current_storage(), server_address(request), FOLDER)


def _moment(cursor: str | None) -> datetime | None:
    try:
        return None if cursor is None else datetime.fromtimestamp(float(cursor), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise InvalidRequest(
            "cursor", f"{cursor[:40]!r} is not one of this server's" if cursor else "is empty"
        ) from error
