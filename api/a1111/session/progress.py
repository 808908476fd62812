"""`GET /sdapi/v1/progress`, `POST /interrupt` and `/skip`; they act on the first of the caller's own requests."""

from __future__ import annotations

import base64
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from PIL import Image

from api.a1111.schemas import A1111Done, A1111Progress, Nothing
from api.a1111.session.running_requests import RUNNING, Drawing
from gateway.media.encoding import encode_preview
from gateway.media.reading.uploads import in_image_thread

ENLARGED = 8
"""A preview has one pixel per latent position, which stands for about this many pixels each way."""

IDLE: dict[str, Any] = {
    "progress": 0.0,
    "eta_relative": 0.0,
    "state": {
        **dict.fromkeys(("skipped", "interrupted", "stopping_generation"), False),
        "job": "",
        "job_timestamp": "0",
        **dict.fromkeys(("job_count", "job_no", "sampling_step", "sampling_steps"), 0),
    },
    "current_image": None,
    "textinfo": None,
}
"""The progress while none of the caller's requests is generated."""

router = APIRouter(prefix="/sdapi/v1")


@router.get("/progress", response_model=A1111Progress)
async def progress(
    skip_current_image: Annotated[bool, Query(description="Whether to leave out the preview.")] = False,
) -> JSONResponse:
    """Return how far the first of the caller's requests is."""
    drawing = RUNNING.own()
    if drawing is None:
        return JSONResponse(IDLE)
    seen = None if skip_current_image else drawing.preview
    shown = None if seen is None else await in_image_thread(_enlarged, seen.image)
    reported = {"progress": drawing.progress, "eta_relative": drawing.left_s, "state": _state(drawing)}
    return JSONResponse({**reported, "current_image": shown, "textinfo": None})


@router.post("/interrupt", response_model=A1111Done)
async def interrupt() -> JSONResponse:
    """End the first of the caller's requests: its answer has the images that are done."""
    drawing = RUNNING.own()
    if drawing is not None:
        drawing.interrupt()
    return JSONResponse({})


@router.post("/skip", response_model=Nothing)
async def skip() -> JSONResponse:
    """Go on with the next of the request's parts (`n_iter`)."""
    drawing = RUNNING.own()
    if drawing is not None:
        drawing.skip()
    return JSONResponse(None)


def _state(drawing: Drawing) -> dict[str, Any]:
    return {
        "skipped": drawing.skipped,
        "interrupted": drawing.interrupted,
        "stopping_generation": False,
        "job": drawing.job,
        "job_count": drawing.parts,
        "job_timestamp": drawing.begun_at,
        "job_no": drawing.part,
        "sampling_step": drawing.step,
        "sampling_steps": drawing.steps,
    }


def _enlarged(preview: Image.Image) -> str:
    size = preview.width * ENLARGED, preview.height * ENLARGED
    return base64.b64encode(encode_preview(preview.resize(size, Image.Resampling.BICUBIC))).decode()
