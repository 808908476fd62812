"""What a client of the storyboard contract sends: a story, and the shape of the answer."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Any, TypeVar

from PIL import Image
from pydantic import ValidationError
from starlette.requests import Request

from api.http.requests.parsing import read_fields
from core.errors import InvalidRequest
from core.pixels.upload import UploadedImage, pixels_of
from gateway.media.reading.decoding import uploaded_field
from gateway.media.reading.uploads import in_image_thread
from models.catalogue.resolving.conditioning import REFERENCE_PIXELS
from models.catalogue.resolving.sizes import check_proportions, looked_at
from settings import Settings
from storyboard.story import Story

StoryT = TypeVar("StoryT", bound=Story)
FILES = ("reference_image", "images")
_PHRASES = {
    "string_too_short": "must be at least {min_length} characters",
    "string_too_long": "must be at most {max_length} characters",
    "greater_than_equal": "must be at least {ge}",
    "greater_than": "must be more than {gt}",
    "less_than_equal": "must be at most {le}",
    "missing": "is missing",
    "too_short": "must have at least {min_length} entries",
    "too_long": "must have at most {max_length} entries",
    "scenes": "is contradictory: num_frames is {frames}, and there are {scenes} scenes",
    "extra_forbidden": "is not a parameter of a story",
}


class Shape(StrEnum):
    """The forms that a storyboard can be returned in."""

    JSON = "json"
    EVENTS = "events"
    SHEET = "sheet"
    ZIP = "zip"
    PDF = "pdf"

    @property
    def media_type(self) -> str:
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    Shape.JSON: "application/json",
    Shape.EVENTS: "text/event-stream",
    Shape.SHEET: "image/png",
    Shape.ZIP: "application/zip",
    Shape.PDF: "application/pdf",
}


class WrongStory(InvalidRequest):
    """The first mistake, phrased as in the document: `prompt must be at least 10 characters`."""

    def __init__(self, error: ValidationError) -> None:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        super().__init__(field, _PHRASES.get(first["type"], f"is wrong: {first['msg']}").format(**first.get("ctx", {})))

    @property
    def message(self) -> str:
        return f"{self.field} {self.reason}"


async def read_story(request: Request, limits: Settings, shape: str | None = None) -> tuple[Story, Shape]:
    """Read a story, JSON or form, and the shape of its answer. Raises InvalidRequest."""
    fields = await read_fields(request, files=FILES)
    in_body = fields.pop("format", None)
    wanted = _shape(shape or in_body, request.headers.get("accept", ""))
    return await story_of(fields, limits.max_image_px, Story), wanted


async def story_of(fields: dict[str, Any], max_image_px: int, form: type[StoryT]) -> StoryT:
    """Decode a story's files and check it; `form` may add fields to Story. Raises InvalidRequest."""
    await story_images(fields, FILES, max_image_px)
    try:
        return form.model_validate(fields)
    except ValidationError as error:
        raise WrongStory(error) from error


async def story_images(fields: dict[str, Any], names: Collection[str], max_image_px: int) -> None:
    """Put pixels in place of the bytes of the fields named. Raises InvalidRequest."""
    for name in (name for name in names if name in fields):
        fields[name] = await in_image_thread(_references, name, fields[name], max_image_px)


def _references(field: str, files: list[bytes], max_image_px: int) -> Image.Image | tuple[Image.Image, ...]:
    """Return the references' pixels, reduced to what models look at; all frames share them."""
    uploads = uploaded_field(field, files, max_image_px)
    if isinstance(uploads, UploadedImage):
        return _seen(field, uploads)
    return tuple(_seen(field, upload) for upload in uploads)


def _seen(field: str, upload: UploadedImage) -> Image.Image:
    check_proportions(field, upload)
    return pixels_of(looked_at(upload, REFERENCE_PIXELS))


def _shape(named: object, accept: str) -> Shape:
    if named is not None:
        try:
            return Shape(str(named))
        except ValueError as error:
            raise InvalidRequest("format", f"{named!r} is not one of {', '.join(Shape)}") from error
    accepted = [part.split(";")[0].strip().lower() for part in accept.split(",")]
    return next((shape for media_type in accepted for shape in Shape if shape.media_type == media_type), Shape.JSON)
