"""Makes images larger without generating them again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from PIL import Image

from core.asyncio_tasks import all_of
from core.generation.upscaling import FIELD, UpscaleFactor
from core.pixels.tiles import rows
from gateway.media.reading.uploads import in_image_thread
from models.catalogue.pointing.pointers import pointer
from models.catalogue.single_files import without_ending
from runners.upscaling.wire import AskedTile
from settings.sections.models import ModelOptions

UpscaleTile = Callable[[AskedTile], Coroutine[Any, Any, Image.Image]]
"""Raises Busy, LoadFailed or GenerationFailed."""

LANCZOS = "Lanczos"
NO_MODEL = f"{FIELD}: the server has no upscaling model (JUBAKO_UPSCALER), so the image was upscaled by {LANCZOS}"
MOST_AT_ONCE = 4
"""An upscaled image takes up to 128 MiB."""
TILES_AT_ONCE = 4
"""Tiles of one image: enough to share a pass, and few enough that other callers' tiles need not wait long."""


@dataclass(frozen=True)
class Upscaler:
    """What makes images larger on this server; usable on one event loop."""

    name: str = LANCZOS
    """The name in answers."""
    upscale_tile: UpscaleTile | None = None
    """Upscales by the model; None for Lanczos."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    """Held while an image is upscaled; for an upload, until its file is written."""

    @property
    def hint(self) -> str | None:
        """A hint for callers if there is no model."""
        return NO_MODEL if self.upscale_tile is None else None

    async def upscaled(self, image: Image.Image, factor: UpscaleFactor) -> Image.Image:
        """Return an image `factor` times as wide and high. Raises Busy, LoadFailed or GenerationFailed."""
        if self.upscale_tile is None:
            return await in_image_thread(_by_lanczos, image, factor)
        if image.mode == "RGBA":
            # Upscaling models take RGB only.
            colours, opacity = await in_image_thread(_apart, image, factor)
            whole = await self.upscaled(colours, factor)
            await in_image_thread(whole.putalpha, opacity)
            return whole
        canvas = Image.new("RGB", (image.width * factor, image.height * factor))
        for row in rows(image.size):
            asked, upscaled = [AskedTile(tile, factor) for tile in row.of(image)], []
            for first in range(0, len(asked), TILES_AT_ONCE):
                upscaled += await all_of(map(self.upscale_tile, asked[first : first + TILES_AT_ONCE]))
            await in_image_thread(row.put, canvas, upscaled, factor)
        return canvas


def upscaler_of(options: ModelOptions, upscale_tile: UpscaleTile | None) -> Upscaler:
    """Return the upscaler that the settings ask for; `upscale_tile` is for the model, if they name one."""
    found = pointer(options.upscaler) if options.upscaler else None
    return Upscaler() if found is None else Upscaler(without_ending(found.name), upscale_tile)


def _apart(image: Image.Image, factor: int) -> tuple[Image.Image, Image.Image]:
    """Return the colours of an RGBA image, and its alpha channel upscaled by `factor`."""
    return image.convert("RGB"), _by_lanczos(image.getchannel("A"), factor)


def _by_lanczos(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
