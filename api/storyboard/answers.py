"""Storyboards as HTTP responses, and errors in the shape of the storyboard server's document."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from api.http.refusals import error_answer
from api.http.responses.streams import event_text
from api.storyboard.forms import Shape
from core.errors import (
    DeadlineExceeded,
    GenerationFailed,
    InvalidRequest,
    JubakoError,
    LoadFailed,
    NonFinite,
    OutOfMemory,
    retry_fields,
)
from core.generation.hints import header_text, hint_header
from storyboard.errors import NotInitialized
from storyboard.files.answer import answer_of, image_file
from storyboard.files.bundle import sheet_file, zipped
from storyboard.files.pdf import pdf
from storyboard.frames import Finished, Storyboard, StoryEvent
from storyboard.maker import Maker
from storyboard.rendering import render_event
from storyboard.story import Story

_FAILURES = (GenerationFailed, OutOfMemory, NonFinite, DeadlineExceeded, LoadFailed)
"""Errors that the document calls `Generation failed`."""
_FILES = {Shape.SHEET: sheet_file, Shape.ZIP: zipped, Shape.PDF: pdf}
_NAMES = {Shape.SHEET: "storyboard.png", Shape.ZIP: "storyboard.zip", Shape.PDF: "storyboard.pdf"}


class StoryRefused(BaseModel):
    """An error. `field` is there where a field of the request is wrong."""

    detail: str = Field(description="What is wrong, for people.")
    code: str = Field(description="The same for programs: never changes.")
    field: str | None = Field(default=None, description="The field that is wrong.")
    reason: str | None = Field(default=None, description="Why no storyboard can be generated here.")


def story_refusal(error: JubakoError) -> JSONResponse:
    """Return the response to an error: the document's `detail`, and the fields of our other routes."""
    return error_answer(error, story_refusal_body(error))


def story_refusal_body(error: JubakoError) -> dict[str, Any]:
    """Return the body of an error response."""
    body: dict[str, Any] = {"detail": _detail(error), "code": error.code}
    if isinstance(error, InvalidRequest):
        body["field"] = error.field
    if isinstance(error, NotInitialized):
        body["reason"] = error.reason
    return body


def _detail(error: JubakoError) -> str:
    if isinstance(error, NotInitialized):
        return error.documented
    return f"Generation failed: {error.message}" if isinstance(error, _FAILURES) else error.message


async def board_of(maker: Maker, story: Story) -> Storyboard:
    """Make a storyboard. Raises the JubakoError that ended it."""
    async with aclosing(maker.make(story)) as making:
        async for event in making:
            if isinstance(event, Finished):
                return event.storyboard
    raise AssertionError("a story ends with Finished, or an error")


async def answer(maker: Maker, story: Story, shape: Shape) -> Response:
    """Make a storyboard and answer with it. Raises JubakoError."""
    board = await board_of(maker, story)
    if shape is Shape.JSON:
        return JSONResponse((await asyncio.to_thread(answer_of, board)).model_dump())
    data = await asyncio.to_thread(_FILES[shape], board)
    headers = {"Content-Disposition": f'inline; filename="{_NAMES[shape]}"', "X-Jubako-Frames": str(len(board.frames))}
    if board.error is not None:
        headers["X-Jubako-Error"] = board.error
    if board.warnings:
        headers |= hint_header(header_text("; ".join(board.warnings)))
    return Response(data, headers=headers, media_type=shape.media_type)


async def stream_events(maker: Maker, story: Story) -> AsyncGenerator[str, None]:
    """Make a storyboard, and yield server-sent events. Raises the JubakoError that ended it.

    event: planned   {"planner", "model", "mode", "num_frames", "scenes"}
    event: reference {the fields of a reference in the document's answer, "reference_number"}
    event: progress  {"frame_number", "try", "step", "steps"}
    event: frame     {the fields of a frame in the document's answer, "done", "of"}
    event: done      {the document's answer without its frames}
    event: error     {"detail", "code", "status"}, and "retry_after_s" where trying again may help
    """
    async with aclosing(maker.make(story)) as making:
        async for event in making:
            yield await asyncio.to_thread(_event_text, event, story.output_format)


def error_text(error: JubakoError) -> str:
    return event_text("error", {**story_refusal_body(error), "status": error.status, **retry_fields(error)})


def _event_text(event: StoryEvent, output_format: str) -> str:
    return event_text(*render_event(event, lambda drawn: b64encode(image_file(drawn, output_format)).decode()))
