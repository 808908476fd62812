"""The gateway's end of the hop to the upscaler."""

from __future__ import annotations

from PIL import Image

from core.generation.upscaling import FIELD
from processes.loading_service import FRAME, LoadingService, Messages
from runners.upscaling.wire import SERVICE, AskedTile, decode_upscaled, encode_tile

LONGEST_S = 1800.0
"""Callers have deadlines of their own."""
_MODEL = "model"
"""The service's only API."""
_MESSAGES = Messages(
    away="images cannot be upscaled now; try again later",
    not_loaded=f"{FIELD}: the upscaling model cannot be loaded",
    failed="the upscaling model failed",
)


class UpscalerClient:
    """Usable on one event loop; opens its connections when they are needed."""

    def __init__(self, url: str) -> None:
        """`url` is `http://host:port`, or `file:///path` for a Unix socket."""
        self._service = LoadingService(url, SERVICE, _MESSAGES)

    async def upscaled(self, tile: AskedTile) -> Image.Image:
        """Return a tile, upscaled.

        Raises Busy when the upscaler does not answer, LoadInterrupted where its model cannot be fetched now,
        LoadFailed, which says what the operator can do, and GenerationFailed when the model fails on a tile.
        """
        await self._service.load(_MODEL)
        return decode_upscaled(await self._service.ask("upscale", encode_tile(tile), FRAME, LONGEST_S), tile)

    async def close(self) -> None:
        await self._service.close()
