"""Lists in the web UI's shapes: models, and the samplers, LoRAs and embeddings of the caller's model."""

from __future__ import annotations

import asyncio
from typing import Any

import psutil
from fastapi import APIRouter
from fastapi.responses import JSONResponse

from api.a1111 import schemas
from api.a1111.extras import upscaler_names
from api.a1111.session.model_choices import CHOICES, picture_models
from api.http.context import current_gateway
from core.generation.infotext import AUTOMATIC, SAMPLERS, SCHEDULES
from models.catalogue.entry import Entry

GIB = 2**30
NO_RHO = -1
EMPTY = (
    *("sd-vae", "hypernetworks", "face-restorers", "realesrgan-models", "prompt-styles", "latent-upscale-modes"),
    *("script-info", "extensions"),
)
"""Lists that are always empty here."""
REFRESHED = ("refresh-checkpoints", "refresh-vae", "refresh-loras", "refresh-embeddings")
"""Commands that do nothing here."""

router = APIRouter(prefix="/sdapi/v1")
extension = APIRouter(prefix="/controlnet")


@router.get("/sd-models", response_model=list[schemas.A1111Model])
async def sd_models() -> JSONResponse:
    """List the models that make images."""
    nothing = {"hash": None, "sha256": None, "config": None}
    names = (entry.id for entry in picture_models(current_gateway().catalogue))
    return JSONResponse([{"title": name, "model_name": name, "filename": name, **nothing} for name in names])


@router.get("/samplers", response_model=list[schemas.A1111Sampler])
async def samplers() -> JSONResponse:
    """List the samplers of the caller's model."""
    bases = _entry().family_spec.schedulers.bases
    shown = {name: SAMPLERS.get(name, name) for name in bases}
    return JSONResponse(
        [{"name": shown[name], "aliases": [name, *spec.labels], "options": {}} for name, spec in bases.items()]
    )


@router.get("/schedulers", response_model=list[schemas.A1111Scheduler])
async def schedulers() -> JSONResponse:
    """List the sigma schedules that some sampler of the caller's model takes."""
    taken = {schedule for all_of_one in _entry().family_spec.schedulers.schedules.values() for schedule in all_of_one}
    known = {AUTOMATIC.lower(): AUTOMATIC, **{name: label for name, label in SCHEDULES.items() if name in taken}}
    fixed = {"aliases": None, "default_rho": NO_RHO, "need_inner_model": False}
    return JSONResponse([{"name": name, "label": label, **fixed} for name, label in known.items()])


@router.get("/upscalers", response_model=list[schemas.A1111Upscaler])
async def upscalers() -> JSONResponse:
    """List what `/extra-single-image` upscales by."""
    nothing = {"model_name": None, "model_path": None, "model_url": None}
    return JSONResponse([{"name": name, "scale": 4, **nothing} for name in upscaler_names(current_gateway().upscaler)])


@router.get("/loras", response_model=list[schemas.A1111Lora])
async def loras() -> JSONResponse:
    """List the LoRAs of the caller's model, for `<lora:name:1>` in prompts."""
    names = _entry().choosable_loras
    return JSONResponse([{"name": name, "alias": name, "path": name, "metadata": {}} for name in names])


@router.get("/embeddings", response_model=schemas.A1111Embeddings)
async def embeddings() -> JSONResponse:
    """List the words that embeddings define for the caller's model."""
    entry = _entry()
    # Only the runner reads their files.
    unknown = {"step": None, "sd_checkpoint": None, "sd_checkpoint_name": entry.id, "shape": 0, "vectors": 1}
    return JSONResponse({"loaded": dict.fromkeys(entry.embeddings, unknown), "skipped": {}})


@router.get("/scripts", response_model=schemas.A1111Scripts)
async def scripts() -> JSONResponse:
    """List what `alwayson_scripts` may have."""
    names = ["controlnet"] if _entry().controlnets else []
    return JSONResponse({"txt2img": names, "img2img": names})


@router.get("/cmd-flags", response_model=schemas.A1111Values)
async def cmd_flags() -> JSONResponse:
    """Return the flags that clients ask for."""
    return JSONResponse({"api": True, "nowebui": True, "api_auth": None})


@router.get("/memory", response_model=schemas.A1111Memory)
async def memory() -> JSONResponse:
    """Return the memory of this machine and of the caller's model's device, in bytes."""
    state = await current_gateway().runners[_entry().id].state()
    ram = await asyncio.to_thread(psutil.virtual_memory)
    cards = list((state.cards or {}).values())
    return JSONResponse(
        {
            "ram": {"free": ram.available, "used": ram.total - ram.available, "total": ram.total},
            "cuda": _card(cards[0]) if cards else {"error": "unavailable"},
        }
    )


@extension.get("/model_list", response_model=schemas.ControlNetModels)
async def controlnet_models() -> JSONResponse:
    """List the ControlNets of the caller's model."""
    entry = _entry()
    adapter = ["ip-adapter"] if entry.ip_adapter else []
    return JSONResponse({"model_list": [*sorted(entry.controlnets), *adapter]})


@extension.get("/module_list", response_model=schemas.ControlNetModules)
async def controlnet_modules() -> JSONResponse:
    """List the preprocessors, of which there are none."""
    return JSONResponse({"module_list": ["none"], "module_detail": {}})


@extension.get("/version", response_model=schemas.ControlNetVersion)
async def controlnet_version() -> JSONResponse:
    """Return the version of the extension's API."""
    return JSONResponse({"version": 3})


def _entry() -> Entry:
    return CHOICES.entry(current_gateway().catalogue)


def _card(card: Any) -> dict[str, Any]:
    total, reserved = round(card.total_gib * GIB), round(card.reserved_gib * GIB)
    return {
        "system": {"free": total - reserved, "used": reserved, "total": total},
        "allocated": {"current": round(card.allocated_gib * GIB), "peak": round(card.peak_gib * GIB)},
        "reserved": {"current": reserved, "peak": reserved},
    }


async def _nothing() -> JSONResponse:
    """Return an empty list: there are none here."""
    return JSONResponse([])


async def _up_to_date() -> JSONResponse:
    """Do nothing: lists are always up to date."""
    return JSONResponse(None)


for _path in EMPTY:
    router.add_api_route(f"/{_path}", _nothing, response_model=list[dict[str, Any]], name=_path.replace("-", "_"))
for _path in REFRESHED:
    router.add_api_route(
        f"/{_path}", _up_to_date, methods=["POST"], response_model=schemas.Nothing, name=_path.replace("-", "_")
    )
