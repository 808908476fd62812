"""WebSocket `/v1/images/stream`: one request in, progress, previews and images out; closing it cancels.

The client sends the fields of generations, or with `image` those of edits, files as base64. It receives

    {"type": "loading", "progress", "download"}   {"type": "queued", "position"}
    {"type": "started", "waited_s", "hint", "prompt_tokens"}
    {"type": "step", "index", "step", "steps"}   and the events of a stream;
    {"type": "ping"} after some seconds without any of these;
    {"type": "done", "images"}   or   {"type": "error", "error": {...}}   comes last.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import asdict
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from api.http.context import current_gateway
from api.http.responses.streams import pinged
from api.openai.drafting import AdmittedImages, admit
from api.openai.errors import openai_error
from api.openai.forms import EditForm, GenerationForm
from api.openai.generating import Generation
from api.openai.reading import form_for, form_of
from api.openai.streaming import render_event
from core.asyncio_tasks import first_of
from core.errors import InvalidRequest, JubakoError, RequestTimeout, TooLarge, retry_fields
from core.generation.events import Event, Loading, Queued, Result, Started, Step
from gateway.gateway import Gateway
from gateway.metrics import measured
from settings import settings

PING = {"type": "ping"}


async def serve(socket: WebSocket) -> None:
    """Answer one request and close."""
    await socket.accept()
    with suppress(WebSocketDisconnect):
        try:
            await first_of(_generate(socket, await _received(socket)), _closed(socket), WebSocketDisconnect())
        except JubakoError as error:
            await socket.send_json({"type": "error", **openai_error(error), **retry_fields(error)})
        await socket.close()


async def _received(socket: WebSocket) -> str | bytes:
    limit_s = settings().client_timeout_s
    try:
        async with asyncio.timeout(limit_s):
            message = await socket.receive()
    except TimeoutError as error:
        raise RequestTimeout(f"no request has arrived within {limit_s:g} s") from error
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect
    request: str | bytes = message.get("text") or message.get("bytes") or ""
    return request


async def _closed(socket: WebSocket) -> None:
    while (await socket.receive())["type"] != "websocket.disconnect":
        pass


async def _generate(socket: WebSocket, request: str | bytes) -> None:
    with measured() as measure:
        form = await _form(request)
        gateway = current_gateway()
        admitted = await admit(gateway, form, progress=True)
        measure.model, measure.task = admitted.request.model, admitted.request.task
        async with aclosing(pinged(_bodies(gateway, admitted), PING)) as bodies:
            async for body in bodies:
                await socket.send_json(body)


async def _bodies(gateway: Gateway, admitted: AdmittedImages) -> AsyncGenerator[dict[str, Any], None]:
    """Generate, and yield what is sent."""
    results, generation = 0, Generation(gateway, admitted)
    async with aclosing(generation.events()) as events:
        async for event in events:
            results += isinstance(event, Result)
            if body := await asyncio.to_thread(_render_event, event, admitted, generation):
                yield body
    yield {"type": "done", "images": results}


async def _form(request: str | bytes) -> GenerationForm | EditForm:
    if len(request) > settings().max_upload_bytes:
        raise TooLarge(f"the request is larger than {settings().max_upload_bytes} bytes")
    try:
        fields = json.loads(request)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("body", f"is not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest("body", "must be a JSON object of fields")
    # A socket is always a stream, whatever the field says.
    return await form_of({**fields, "stream": True}, form_for(fields))


def _render_event(event: Event, admitted: AdmittedImages, generation: Generation) -> dict[str, Any] | None:
    if isinstance(event, Loading | Queued | Started | Step):
        return {"type": type(event).__name__.lower(), **asdict(event)}
    return render_event(event, admitted, generation)
