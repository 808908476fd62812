"""`POST /models/{id}/load` and `/unload`: bring a model into memory, move it to another device, free it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.http.context import current_gateway
from api.http.refusals import InvalidForm
from api.openapi_description.bodies import JSON, described_body
from core.device_names import DEVICE_PATTERN
from core.errors import Forbidden
from gateway.gateway import Gateway
from runners.state import ModelState, RunnerState


class Options(BaseModel):
    """The body, which may be empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadOptions(Options):
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] | None = Field(
        default=None, description="Where to load it, such as cpu or cuda:1. Default: where it was before."
    )


class UnloadOptions(Options):
    force: bool = Field(default=False, description="Cancel running requests instead of waiting for them.")


router = APIRouter()
ModelId = Annotated[str, Path(alias="id", description="An id of GET /models, or an alias.")]


@router.post(
    "/models/{id}/load",
    response_model=RunnerState,
    responses={202: {"model": RunnerState, "description": "It is being loaded."}},
    openapi_extra=described_body(LoadOptions, JSON, name="Load", required=False),
)
async def load(request: Request, model: ModelId) -> Response:
    """Begin to load a model; answer 202 with its state, or 200 when it is ready. New requests wait for it."""
    gateway = managed_gateway()
    device = _read(LoadOptions, await request.body()).device
    state = await gateway.residency.load(gateway.catalogue.get(model).id, device)
    return JSONResponse(state.as_json(), 200 if state.state is ModelState.READY else 202)


@router.post(
    "/models/{id}/unload",
    response_model=RunnerState,
    openapi_extra=described_body(UnloadOptions, JSON, name="Unload", required=False),
)
async def unload(request: Request, model: ModelId) -> Response:
    """Free a model once its running requests are done, then answer with its state."""
    gateway = managed_gateway()
    force = _read(UnloadOptions, await request.body()).force
    state = await gateway.runners[gateway.catalogue.get(model).id].unload(force)
    return JSONResponse(state.as_json())


def managed_gateway() -> Gateway:
    """Return the gateway. Raises Forbidden where clients must not load models."""
    gateway = current_gateway()
    if not gateway.managed:
        raise Forbidden("this server does not let clients load and unload models (JUBAKO_MANAGE)")
    return gateway


def _read(kind: type[Any], body: bytes) -> Any:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise InvalidForm(error) from error
