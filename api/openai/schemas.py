"""The answers of the OpenAI routes, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from api.openai.errors import OpenAIRefused
from api.openapi_description.answer import Answer
from api.openapi_description.event_streams import described_events
from api.openapi_description.headers import header_references
from api.operations.schemas import Capabilities


class Tokens(Answer):
    text_tokens: int
    image_tokens: int


class Usage(Answer):
    input_tokens: int
    input_tokens_details: Tokens
    output_tokens: int
    output_tokens_details: Tokens
    total_tokens: int


class OpenAIImage(Answer):
    b64_json: str | None = Field(default=None, description="The file in base64, unless a URL was asked for.")
    url: str | None = None
    seed: int
    skipped_steps: int = Field(description="Denoising steps that were predicted instead of computed.")
    tiled: bool = Field(description="Whether it was decoded in tiles for want of memory, so that pixels may differ.")


class Common(Answer):
    background: Literal["opaque", "transparent"]
    output_format: Literal["png", "jpeg", "webp"]
    quality: str
    size: str
    safety_identifier: str | None = None
    hint: str | None = Field(default=None, description="What the model ignored of the prompt.")


class ImagesAnswer(Common):
    created: int
    data: list[OpenAIImage]
    usage: Usage


class ImageEvent(Common):
    """The data of an event of a stream."""

    type: str = Field(description="The event's name.")
    b64_json: str
    created_at: int
    index: int = Field(description="Which of `n` images it is about; 0 is the first.")


class PartialImage(ImageEvent):
    partial_image_index: int


class CompletedImage(ImageEvent):
    seed: int
    skipped_steps: int = Field(description="Denoising steps that were predicted instead of computed.")
    tiled: bool = Field(description="Whether it was decoded in tiles for want of memory, so that pixels may differ.")
    usage: Usage


class FailedImages(OpenAIRefused):
    type: Literal["error"]
    retry_after_s: int | None = None


class ModelObject(Answer):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    root: str
    aliases: list[str]
    capabilities: Capabilities


class ModelList(Answer):
    object: Literal["list"]
    data: list[ModelObject]


class Info(Answer):
    name: str
    version: str
    model: str
    endpoints: dict[str, bool] = Field(description="The routes, and whether the default model supports each.")


def _answers(events: str) -> dict[int | str, dict[str, Any]]:
    streamed: dict[str, type[BaseModel]] = {
        f"{events}.partial_image": PartialImage,
        f"{events}.completed": CompletedImage,
        "error": FailedImages,
    }
    return {200: {"content": described_events(**streamed), "headers": header_references(["X-Jubako-Hint"])}}


GENERATED = _answers("image_generation")
EDITED = _answers("image_edit")
