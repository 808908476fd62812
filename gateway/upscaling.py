"""Images made larger, without a model that generates them again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from PIL import Image

from core.generation.tiles import rows
from core.generation.upscaling import FIELD, UpscaleFactor
from gateway.media.uploads import in_image_thread
from models.catalogue.pointing.pointers import pointer
from models.catalogue.single_files import without_ending
from runners.upscaling.wire import AskedTile
from settings.sections.models import ModelOptions

EnlargeTile = Callable[[AskedTile], Awaitable[Image.Image]]
"""Raises Busy or LoadFailed."""

LANCZOS = "Lanczos"
NO_MODEL = f"{FIELD}: the server has no upscaling model (JUBAKO_UPSCALER), so the image was enlarged by {LANCZOS}"
MOST_AT_ONCE = 4
"""An upscaled image takes up to 128 MiB."""
TILES_AT_ONCE = 4
"""Of one image: they may share a pass, and other callers' need not wait for many."""


@dataclass(frozen=True)
class Upscaler:
    """What makes images larger on this server; usable on one event loop."""

    name: str = LANCZOS
    """What answers call it by."""
    enlarge: EnlargeTile | None = None
    """The model's; without one, it is Lanczos."""
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_AT_ONCE))
    """Held while an image is enlarged; of an upload, until its file is made."""

    @property
    def hint(self) -> str | None:
        """What callers should know of it."""
        return NO_MODEL if self.enlarge is None else None

    async def enlarged(self, image: Image.Image, factor: UpscaleFactor) -> Image.Image:
        """Return an RGB image so many times wider and higher. Raises Busy or LoadFailed."""
        if self.enlarge is None:
            return await in_image_thread(_by_lanczos, image, factor)
        canvas = Image.new("RGB", (image.width * factor, image.height * factor))
        for row in rows(image.size):
            asked, enlarged = [AskedTile(tile, factor) for tile in row.of(image)], []
            for first in range(0, len(asked), TILES_AT_ONCE):
                enlarged += await asyncio.gather(*map(self.enlarge, asked[first : first + TILES_AT_ONCE]))
            await in_image_thread(row.put, canvas, enlarged, factor)
        return canvas


def upscaler_of(options: ModelOptions, enlarge: EnlargeTile | None) -> Upscaler:
    """Return what the settings ask for; `enlarge` is that of their model, if they name one."""
    found = pointer(options.upscaler) if options.upscaler else None
    return Upscaler() if found is None else Upscaler(without_ending(found.name), enlarge)


def _by_lanczos(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.LANCZOS)
