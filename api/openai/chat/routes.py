"""The routes of chats and responses, each of which generates an image."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, Response

from api.http.context import current_gateway
from api.http.contract_app import contract_app
from api.http.responses.disconnects import unless_disconnected
from api.http.responses.streams import PING, started_stream
from api.openai.chat.completions import chunks, complete, error_chunk
from api.openai.chat.forms import ChatForm, ResponseForm
from api.openai.chat.reading import TOOL, read_chat, read_response
from api.openai.chat.responses import respond, response_events
from api.openai.chat.schemas import COMPLETED, RESPONDED, ChatCompletion, ResponseAnswer
from api.openai.errors import OpenAIRefused, openai_refusal
from api.openapi_description.bodies import JSON, described_body
from core.generation.hints import hint_header
from core.generation.request import Task

APPLE = "a red apple on a blue background"
chat = APIRouter(prefix="/v1")


@chat.post(
    "/chat/completions",
    response_model=ChatCompletion,
    responses=COMPLETED,
    openapi_extra=described_body(
        ChatForm, JSON, name="OpenAIChat", task=Task.TEXT_TO_IMAGE, messages=[{"role": "user", "content": APPLE}]
    ),
)
async def chat_completions(request: Request) -> Response:
    """Generate the image that the last message of a chat asks for, or edit the one that it has."""
    gateway = current_gateway()
    asked = await read_chat(request, gateway.catalogue)
    if asked.stream:
        return await unless_disconnected(request, started_stream(chunks(gateway, asked), error_chunk))
    return _answer(await unless_disconnected(request, complete(gateway, asked)))


@chat.post(
    "/responses",
    response_model=ResponseAnswer,
    responses=RESPONDED,
    openapi_extra=described_body(
        ResponseForm, JSON, name="OpenAIResponse", task=Task.TEXT_TO_IMAGE, input=APPLE, tools=[{"type": TOOL}]
    ),
)
async def responses(request: Request) -> Response:
    """Generate the image that the input asks for, or edit the one that it has, as a call of `image_generation`."""
    gateway = current_gateway()
    asked = await read_response(request, gateway.catalogue)
    if asked.stream:
        # A failed response has already said so in an event.
        return await unless_disconnected(request, started_stream(response_events(gateway, asked), lambda _: PING))
    return _answer(await unless_disconnected(request, respond(gateway, asked)))


chat_app = contract_app("Jubako: OpenAI chat with images", "openai", chat, openai_refusal, OpenAIRefused)


def _answer(body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, headers=hint_header(body.get("hint")))
