"""The typed APIs as OpenAPI describes them, from the methods of the service that this process runs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, cast

from _bentoml_sdk.method import APIMethod
from bentoml import get_current_service
from pydantic import Field

from api.http.refusals import Refused
from api.openapi_description.answer import Answer
from api.openapi_description.bodies import FILE, JSON, MULTIPART, REF, described_body
from api.openapi_description.event_streams import described_events
from api.openapi_description.finishing import finished
from api.openapi_description.headers import FILE_HEADERS, UPSCALED_HEADERS, header_references
from api.storyboard.answers import StoryRefused
from api.storyboard.schemas import EXAMPLE as STORY
from api.typed.file_answers import PictureFile, VideoFile
from api.typed.forms import TypedForm, Upscale
from api.typed.streaming import EventStream
from core.generation.events import Download
from core.generation.request import Task
from core.version import VERSION
from gateway.media.encoding import PICTURE_FORMATS, VIDEO_FORMATS
from settings import settings
from storyboard.files.answer import StoryboardAnswer

TITLE = "Images and videos"
EXAMPLE = {"prompt": "a red apple on a blue background", "seed": 42}


class StreamLoading(Answer):
    progress: float = Field(description="0 to 1.")
    download: Download | None = Field(description="While files of the model come from the hub.")


class StreamQueued(Answer):
    position: int = Field(description="1 is next.")


class StreamStarted(Answer):
    model: str
    task: Task
    seed: int
    waited_s: float
    hint: str | None = Field(description="What the model ignored of the request.")


class StreamStep(Answer):
    index: int = Field(description="Which of several images it is about; 0 is the first.")
    step: int = Field(description="1 is the first, `steps` the last.")
    steps: int
    skipped: bool = Field(description="Whether it was predicted instead of computed.")


class StreamPreview(Answer):
    index: int
    step: int
    media_type: Literal["image/png"]
    image: str = Field(description="Base64.")


class StreamFile(Answer):
    index: int
    seed: int
    skipped_steps: int = Field(description="Steps that were predicted instead of computed.")
    tiled: bool = Field(description="Whether it was decoded in tiles for want of memory, so that pixels may differ.")
    media_type: str
    parameters: dict[str, Any] = Field(description="Send them back, and the file is the same.")


class StreamImage(StreamFile):
    image: str = Field(description="Base64.")


class StreamVideo(StreamFile):
    sound: bool = Field(description="Whether it has sound.")
    video: str = Field(description="Base64.")


class StreamDone(Answer):
    images: int | None = None
    videos: int | None = None
    seconds: float


class StreamFailed(Refused):
    status: int
    retry_after_s: int | None = None


def typed_description() -> dict[str, Any]:
    """Return the description of the typed APIs alone."""
    paths: dict[str, Any] = {}
    components: dict[str, Any] = {}
    for method in _methods():
        refused = StoryRefused if method.output_spec.__name__ == StoryboardAnswer.__name__ else Refused
        bare = {"info": {"title": TITLE, "version": VERSION}, "paths": {method.route: {"post": _operation(method)}}}
        described = finished(bare, refused, settings())
        paths |= described["paths"]
        for kind, named in described["components"].items():
            components.setdefault(kind, {}).update(named)
    return {**described, "paths": paths, "components": components}


def _methods() -> Iterator[APIMethod[..., Any]]:
    """Yield the APIs in the order in which they are declared."""
    return (cast(Any, each) for each in vars(type(get_current_service())).values() if isinstance(each, APIMethod))


def _operation(method: APIMethod[..., Any]) -> dict[str, Any]:
    form = cast(type[TypedForm], method.input_spec)
    name = "".join(word.capitalize() for word in method.name.split("_"))
    needs_file = any(form.model_fields[field].is_required() for field in form.multipart_fields)
    task = form.model_fields["task"].default if "task" in form.model_fields else None
    example = STORY if task is None else EXAMPLE
    media, sent = ((MULTIPART, JSON), {}) if needs_file else ((JSON, MULTIPART), example)
    return {
        "operationId": method.name,
        "summary": method.name.replace("_", " ").capitalize(),
        "description": method.doc,
        **described_body(form, *media, name=name, task=task or Task.TEXT_TO_IMAGE, **sent),
        "responses": {"200": {"description": "Done.", **_answer(method)}},
    }


def _answer(method: APIMethod[..., Any]) -> dict[str, Any]:
    if method.output_spec is EventStream:
        return {"content": STREAM}
    if method.output_spec in (PictureFile, VideoFile):
        video = method.output_spec is VideoFile
        formats = VIDEO_FORMATS if video else PICTURE_FORMATS
        content = {each.media_type: {"schema": FILE} for each in formats}
        headers = UPSCALED_HEADERS if method.input_spec is Upscale else FILE_HEADERS
        return {"content": content, "headers": header_references(headers)}
    return {"content": {JSON: {"schema": StoryboardAnswer.model_json_schema(ref_template=REF)}}}


STREAM = described_events(
    loading=StreamLoading,
    queued=StreamQueued,
    started=StreamStarted,
    step=StreamStep,
    preview=StreamPreview,
    image=StreamImage,
    video=StreamVideo,
    error=StreamFailed,
    done=StreamDone,
)
