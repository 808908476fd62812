"""The answers of the chat routes, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.openapi_description.answer import Answer
from api.openapi_description.event_streams import EVENT_STREAM, described_events
from api.openapi_description.headers import header_references


class ImageAddress(Answer):
    url: str = Field(description="A data URL.")


class ChatImage(Answer):
    type: Literal["image_url"]
    image_url: ImageAddress
    index: int
    seed: int
    skipped_steps: int = Field(description="Denoising steps that were predicted instead of computed.")


class ChatMessage(Answer):
    role: Literal["assistant"]
    content: str = Field(description="Always empty.")
    refusal: None
    images: list[ChatImage]


class ChatChoice(Answer):
    index: int
    message: ChatMessage
    logprobs: None
    finish_reason: Literal["stop"]


class ChatUsage(Answer):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Hinted(Answer):
    hint: str | None = Field(default=None, description="What of the request was ignored.")


class ChatCompletion(Hinted):
    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatChoice] = Field(description="One for each of `n` images.")
    usage: ChatUsage


class ImageCall(Answer):
    id: str
    type: Literal["image_generation_call"]
    status: Literal["in_progress", "completed"]
    result: str | None = Field(description="The file in base64.")
    action: Literal["generate", "edit"] | None = None
    background: str | None = None
    output_format: str | None = None
    quality: str | None = None
    size: str | None = None
    seed: int | None = None
    skipped_steps: int | None = None


class ResponseAnswer(Hinted):
    id: str
    object: Literal["response"]
    created_at: int
    status: Literal["in_progress", "completed", "failed"]
    model: str
    output: list[ImageCall]
    error: dict[str, Any] | None
    usage: dict[str, Any] | None


class ResponseEvent(Answer):
    """The data of an event of a response."""

    type: str = Field(description="The event's name.")
    sequence_number: int


class WholeResponse(ResponseEvent):
    response: ResponseAnswer


class ResponseItem(ResponseEvent):
    output_index: int
    item: ImageCall


class ItemEvent(ResponseEvent):
    output_index: int
    item_id: str


class PartialResponse(ItemEvent):
    partial_image_b64: str
    partial_image_index: int


_CALL = "response.image_generation_call"
_EVENTS: dict[str, type[BaseModel]] = {
    "response.created": WholeResponse,
    "response.in_progress": WholeResponse,
    "response.output_item.added": ResponseItem,
    f"{_CALL}.in_progress": ItemEvent,
    f"{_CALL}.generating": ItemEvent,
    f"{_CALL}.partial_image": PartialResponse,
    f"{_CALL}.completed": ItemEvent,
    "response.output_item.done": ResponseItem,
    "response.completed": WholeResponse,
    "response.failed": WholeResponse,
}
_CHUNKS = "Server-sent events without names: chunks of a completion, whose `delta` has `images`, and at last `[DONE]`."
_HINT = header_references(["X-Jubako-Hint"])
COMPLETED: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENT_STREAM: {"schema": {"type": "string", "description": _CHUNKS}}}, "headers": _HINT}
}
RESPONDED: dict[int | str, dict[str, Any]] = {200: {"content": described_events(**_EVENTS), "headers": _HINT}}
