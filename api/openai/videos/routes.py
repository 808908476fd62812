"""The routes of the OpenAI Videos API: an adapter of the job desk, and one route that waits."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_desk, current_gateway, current_storage, server_address
from api.http.contract_app import contract_app
from api.http.requests.idempotency import Idempotency, IdempotencyHeader
from api.http.requests.parsing import read_fields
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.generated_file import drawn_file
from api.openai.errors import OpenAIRefused, openai_refusal
from api.openai.reading import form_from
from api.openai.videos.answers import Variant, content_of, file_of, is_video, video_of
from api.openai.videos.drafting import RemixSource, admit_remix, admit_video
from api.openai.videos.forms import RemixForm, VideoForm
from api.openai.videos.listing import SortOrder, video_page
from api.openai.videos.reading import VideoBody, read_video
from api.openai.videos.schemas import CONTENT, SYNCHRONOUS, Video, VideoDeleted, VideoList
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from core.generation.hints import hint_header
from core.generation.request import GenerationRequest, Task
from gateway.media.encoding import OutputFormat
from gateway.metrics import measured
from jobs.desk.caller_desk import CallerDesk
from jobs.desk.order import Order
from jobs.job import Job

videos = APIRouter(prefix="/v1")
APPLE: dict[str, Any] = {"prompt": "a red apple on a blue background", "seed": 42}
_BODY = (JSON, MULTIPART)


@videos.post(
    "/videos",
    response_model=Video,
    responses={409: {}, 422: {}},
    openapi_extra=described_body(VideoForm, *_BODY, name="OpenAIVideo", task=Task.TEXT_TO_VIDEO, **APPLE),
)
async def create_video(request: Request, idempotency_key: IdempotencyHeader = None) -> JSONResponse:
    """Start a video from a prompt, or from a prompt and its first frame."""
    body = await read_video(request)
    key = Idempotency.of(idempotency_key, request, body.fields)
    jobs = await _desk().earlier(**asdict(key))
    if not jobs:
        admitted = await admit_video(current_gateway(), body, background=True)
        form = body.form
        order = _order(request, admitted, form.output_format, repeatable=form.seed is not None)
        jobs = await _desk().submit(replace(order, **asdict(key)))
    return _shown(jobs[0])


@videos.post(
    "/videos/sync",
    response_class=Response,
    responses=SYNCHRONOUS,
    openapi_extra=described_body(VideoForm, *_BODY, name="OpenAIVideoSync", task=Task.TEXT_TO_VIDEO, **APPLE),
)
async def generate_video(request: Request) -> Response:
    """Generate a video and answer with its file."""
    return await unless_disconnected(request, _generated(await read_video(request)))


@videos.get("/videos", response_model=VideoList)
async def list_videos(
    after: str | None = None,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: SortOrder = "desc",
) -> JSONResponse:
    """List your videos; `last_id` of one page is `after` of the next."""
    return JSONResponse(await video_page(_desk(), after, limit, order))


@videos.get("/videos/{video_id}", response_model=Video)
async def video(video_id: str) -> JSONResponse:
    """Report on a video."""
    return _shown(await _desk().get(video_id))


@videos.get("/videos/{video_id}/content", response_class=Response, responses=CONTENT)
async def video_content(video_id: str, variant: Variant = "video") -> Response:
    """Send a video's file, its first frame (`thumbnail`, WebP) or a sheet of its frames (`spritesheet`, JPEG)."""
    return await content_of(await _desk().get(video_id), current_storage(), variant)


@videos.delete("/videos/{video_id}", response_model=VideoDeleted)
async def delete_video(video_id: str) -> JSONResponse:
    """Delete a video, or stop one that is being generated."""
    await _desk().delete(video_id)
    return JSONResponse({"id": video_id, "object": "video.deleted", "deleted": True})


@videos.post(
    "/videos/{video_id}/remix",
    response_model=Video,
    responses={409: {}},
    openapi_extra=described_body(RemixForm, *_BODY, name="OpenAIRemix", prompt="the same in winter"),
)
async def remix_video(request: Request, video_id: str) -> JSONResponse:
    """Start a video with the first frame, the seed and the parameters of another, and a new prompt."""
    form = form_from(await read_fields(request, ()), RemixForm)
    job = await _desk().get(video_id)
    source = RemixSource(job, await file_of(job, current_storage()))
    admitted = await admit_remix(current_gateway(), source, form.prompt)
    order = _order(request, admitted, job.output_format, repeatable=False)
    return _shown((await _desk().submit(replace(order, remixed_from=job.id)))[0])


videos_app = contract_app("Jubako: OpenAI Videos API", "openai", videos, openai_refusal, OpenAIRefused)


def _desk() -> CallerDesk:
    return current_desk(is_video)


def _order(request: Request, admitted: GenerationRequest, output_format: str, *, repeatable: bool) -> Order:
    hinted = current_gateway().with_file_hints(admitted, OutputFormat(output_format))
    return Order(request=hinted, output_format=output_format, base_url=server_address(request), repeatable=repeatable)


def _shown(job: Job) -> JSONResponse:
    shown = video_of(job)
    return JSONResponse(shown, headers=hint_header(shown["hint"]))


async def _generated(body: VideoBody) -> Response:
    with measured() as measure:
        admitted = await admit_video(current_gateway(), body, background=False)
        measure.model, measure.task = admitted.model, admitted.task
        output_format = OutputFormat(body.form.output_format)
        hinted = current_gateway().with_file_hints(admitted, output_format)
        return await drawn_file(current_gateway(), hinted, output_format)
