"""A sheet of frames that the caller sends, such as a story's frames after one was drawn again."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import BeforeValidator, Field, ValidationError
from starlette.requests import Request

from api.http.requests.parsing import read_fields
from api.openapi_description.bodies import JSON, MULTIPART, described_body
from api.storyboard.forms import WrongStory, story_images
from core.generation.client_fields import ClientFields
from core.pixels.upload import Pixels, pixels_of
from gateway.gateway import Meter
from gateway.media.reading.uploads import in_image_thread
from storyboard.files.bundle import png_file
from storyboard.files.sheet import CELL_PX, Cell, picture_height_px, sheet_with
from storyboard.scenes import MAX_FRAMES
from storyboard.story import MAX_CHARS

FILES = ("images",)


def _texts(value: object) -> object:
    """Forms have text only: a list is written as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) if value.lstrip().startswith("[") else [value]
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error


class SheetForm(ClientFields):
    images: tuple[Pixels, ...] = Field(
        min_length=1, max_length=MAX_FRAMES, description="The frames, in their order; repeat the field for several."
    )
    captions: Annotated[
        tuple[Annotated[str, Field(max_length=2 * MAX_CHARS)], ...],
        Field(max_length=MAX_FRAMES, description="The captions, one for each frame; in forms as JSON."),
        BeforeValidator(_texts),
    ] = ()
    prompt: str = Field(default="", max_length=MAX_CHARS, description="The story, written above the frames.")

    @property
    def cells(self) -> list[Cell]:
        """Takes time."""
        captions = (*self.captions, *[""] * len(self.images))
        frames = zip(self.images, captions, strict=False)
        return [Cell(pixels_of(image), number, caption) for number, (image, caption) in enumerate(frames, 1)]


SHEET = described_body(SheetForm, JSON, MULTIPART, name="Sheet")


async def drawn_sheet(request: Request, meter: Meter, max_image_px: int) -> bytes:
    """Return a PNG of the frames that a request has. Raises InvalidRequest and RateExceeded."""
    fields = await read_fields(request, files=FILES)
    await story_images(fields, FILES, max_image_px)
    try:
        form = SheetForm.model_validate(fields)
    except ValidationError as error:
        raise WrongStory(error) from error
    pixels = sum(image.width * image.height for image in form.images)
    cell_px = CELL_PX * picture_height_px(form.images[0].width, form.images[0].height)
    await meter.charge_pixels("images", pixels + len(form.images) * cell_px)
    return await in_image_thread(lambda: png_file(sheet_with(form.prompt.strip(), form.cells)))
