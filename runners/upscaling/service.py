"""The BentoML runner service that upscales; the tiles of all callers share its batches."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import bentoml
from _bentoml_sdk.io_models import IORootModel
from bentoml.exceptions import BadInput
from starlette.requests import Request
from starlette.responses import Response

from core.errors import StartError
from core.pixels.tiles import TILE_PX, TILES_A_PASS
from models.catalogue.pointing.pointers import pointer
from processes.drain import Drain
from processes.gateway_watch import gateway_ended
from processes.loading_service import answer_to_load
from runners.host.middleware import put_in_front
from runners.upscaling.host import UpscalerHost
from runners.upscaling.wire import SERVICE, AskedTile, decode_tile
from settings import Settings

LONGEST_S = 1800
"""Long enough to fetch a model, or for tiles to wait for others'; requests have deadlines of their own."""
NAME = "_upscaler"
"""Not a model's id: those begin with a letter or a digit."""


class TileFrame(bentoml.IODescriptor):
    """A tile in the format of `runners.upscaling.wire`, as a batch of one."""

    asked: list[Any]

    @classmethod
    async def from_http_request(cls, request: Request, serde: object) -> TileFrame:  # noqa: ARG003  # BentoML's signature
        try:
            return cls(asked=[decode_tile(await request.body())])
        except ValueError as error:
            raise BadInput("the frame is not a tile") from error


class TilePixels(IORootModel[list[bytes]]):
    """The pixels of a batch of one."""

    @classmethod
    async def to_http_response(cls, obj: list[bytes], serde: object) -> Response:  # noqa: ARG003  # BentoML's signature
        return Response(obj[0], media_type="application/octet-stream")


def upscaler_services(settings: Settings) -> dict[str, Any]:
    """Make the service if an upscaling model is configured. Raises StartError if it cannot be used."""
    if settings.upscaler is None:
        return {}
    refuse_unusable(settings)
    return {NAME: upscaler_service(settings)}


def refuse_unusable(settings: Settings) -> None:
    """Raise StartError if the setting names no file or a forbidden address, or if spandrel is not installed."""
    found = pointer(str(settings.upscaler))
    if found is None:
        raise StartError("JUBAKO_UPSCALER: write a file, or one of a hub repository, as owner/name/file.safetensors")
    if found.url is not None and not settings.model_urls:
        raise StartError("JUBAKO_UPSCALER is an address, which needs JUBAKO_MODEL_URLS=true")
    if find_spec("spandrel") is None:
        how = "pip install --no-deps -r constraints-upscale.txt, or an image that was built with EXTRAS=upscale"
        raise StartError(f"JUBAKO_UPSCALER needs the extra `upscale`: {how}")


def upscaler_service(settings: Settings) -> Any:
    """Make the service. Its process stays small until the first image, when it imports torch and loads the model."""

    @bentoml.service(name=SERVICE, workers=1, traffic={"timeout": LONGEST_S}, logging={"access": {"enabled": False}})
    class Upscaler:
        def __init__(self) -> None:
            self._host = UpscalerHost(settings.first_device)

        @bentoml.on_startup
        async def take_signals(self) -> None:
            Drain(settings.drain_s).install(serve_until=gateway_ended)

        @bentoml.api
        async def load(self) -> dict[str, str]:
            """Load the model, fetching it where needed; answer with why it cannot be, if so."""
            return await answer_to_load(self._host.load())

        @bentoml.api(
            input_spec=TileFrame,
            output_spec=TilePixels,
            batchable=True,
            max_batch_size=TILES_A_PASS,
            max_latency_ms=LONGEST_S * 1000,
        )
        async def upscale(self, asked: list[AskedTile]) -> list[bytes]:
            """Return the pixels of each tile."""
            return await self._host.upscaled(asked)

        @bentoml.on_shutdown
        def close(self) -> None:
            self._host.close()

    service: Any = Upscaler
    put_in_front(service, settings, 3 * TILE_PX * TILE_PX + 2**10)
    return service
