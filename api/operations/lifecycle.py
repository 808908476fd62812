"""`POST /models/{id}/load` and `/unload`: bring a model into memory, move it to another device, free it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from api.http.context import current_gateway
from api.http.refusals import InvalidForm, refusal
from core.errors import Forbidden, JubakoError
from gateway.gateway import Gateway
from runners.state import ModelState
from settings.sections.models import DEVICE_PATTERN


class Options(BaseModel):
    """The body, which may be empty."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LoadOptions(Options):
    device: Annotated[str, Field(pattern=DEVICE_PATTERN)] | None = None
    """Where to load it; None is where it was last."""


class UnloadOptions(Options):
    force: bool = False
    """Cancel running requests instead of waiting for them."""


async def load(request: Request) -> Response:
    """Begin to load a model; answer 202 with its state, or 200 when it is ready. New requests wait for it."""
    try:
        gateway, model = _managed(request)
        device = _read(LoadOptions, await request.body()).device
        state = await gateway.residency.load(model, device)
    except JubakoError as error:
        return refusal(error)
    return JSONResponse(state.as_json(), 200 if state.state is ModelState.READY else 202)


async def unload(request: Request) -> Response:
    """Free a model once its running requests are done, then answer with its state."""
    try:
        gateway, model = _managed(request)
        force = _read(UnloadOptions, await request.body()).force
        state = await gateway.runners[model].unload(force)
    except JubakoError as error:
        return refusal(error)
    return JSONResponse(state.as_json())


lifecycle_routes = [
    Route("/models/{id}/load", load, methods=["POST"]),
    Route("/models/{id}/unload", unload, methods=["POST"]),
]


def _managed(request: Request) -> tuple[Gateway, str]:
    """Return the gateway and the model's id. Raises Forbidden or UnknownModel."""
    gateway = current_gateway()
    if not gateway.managed:
        raise Forbidden("this server does not let clients load and unload models (JUBAKO_MANAGE)")
    model: str = request.path_params["id"]
    return gateway, gateway.catalogue.get(model).id


def _read(kind: type[Any], body: bytes) -> Any:
    try:
        return kind.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise InvalidForm(error) from error
