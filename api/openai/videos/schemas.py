"""The answers of the video routes, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.openapi_description.answer import Answer
from api.openapi_description.bodies import FILE
from api.openapi_description.headers import FILE_HEADERS, header_references
from gateway.media.encoding import VIDEO_FORMATS


class VideoError(Answer):
    code: str
    message: str


class Video(Answer):
    id: str = Field(description="Also the id of its job: /api/{session_id}/events has its events.")
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int = Field(ge=0, le=100)
    created_at: int
    completed_at: int | None
    expires_at: int | None = Field(description="When it will no longer be available.")
    prompt: str
    size: str
    seconds: str = Field(description="The actual length: frames divided by frames a second.")
    remixed_from_video_id: str | None
    error: VideoError | None
    seed: int
    skipped_steps: int | None = Field(description="Denoising steps that were predicted; null until it is completed.")
    hint: str | None = Field(description="What of the request was ignored.")


class VideoList(Answer):
    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None = Field(description="`after` of the next page.")
    has_more: bool


class VideoDeleted(Answer):
    id: str
    object: Literal["video.deleted"]
    deleted: bool


_FILES = {each.media_type: {"schema": FILE} for each in VIDEO_FORMATS}
_STILLS = {media_type: {"schema": FILE} for media_type in ("image/webp", "image/jpeg")}
CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {**_FILES, **_STILLS}}, 409: {}}
SYNCHRONOUS: dict[int | str, dict[str, Any]] = {
    200: {"content": _FILES, "headers": header_references(FILE_HEADERS)},
}
