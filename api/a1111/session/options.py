"""`/sdapi/v1/options`: the caller's choice of a model; all other options are fixed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from api.a1111.schemas import HINTED, A1111Values, Nothing
from api.a1111.session.model_choices import CHOICES
from api.http.context import current_gateway
from api.http.requests.parsing import read_model
from api.openapi_description.bodies import JSON, described_body
from core.generation.hints import hint_header, unknown_hint

FIXED: dict[str, Any] = {
    "sd_checkpoint_hash": "",
    "sd_vae": "Automatic",
    "CLIP_stop_at_last_layers": 1,
    "samples_format": "png",
    "img2img_fix_steps": False,
    "eta_noise_seed_delta": 0,
    "show_progress_every_n_steps": 10,
    "live_previews_enable": True,
    "upscaler_for_img2img": None,
}
"""What clients look at."""

router = APIRouter(prefix="/sdapi/v1")


class A1111Options(BaseModel):
    model_config = ConfigDict(extra="allow", protected_namespaces=())

    sd_model_checkpoint: str | None = Field(default=None, description="A title of /sdapi/v1/sd-models.")


@router.get("/options", response_model=A1111Values)
async def options() -> JSONResponse:
    """Return the caller's model, and the fixed options."""
    return JSONResponse({"sd_model_checkpoint": CHOICES.entry(current_gateway().catalogue).id, **FIXED})


@router.post(
    "/options",
    response_model=Nothing,
    responses=HINTED,
    openapi_extra=described_body(A1111Options, JSON, name="A1111Options"),
)
async def set_options(request: Request) -> JSONResponse:
    """Choose the model of the caller's requests that name none; other options stay as they are."""
    wanted = await read_model(request, A1111Options)
    if wanted.sd_model_checkpoint:
        CHOICES.choose(current_gateway().catalogue, wanted.sd_model_checkpoint)
    others = wanted.model_extra or {}
    changed = [name for name, value in others.items() if name not in FIXED or FIXED[name] != value]
    return JSONResponse(None, headers=hint_header(unknown_hint(changed)))
