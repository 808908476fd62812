"""Server-sent events: how a response of them begins, survives silence and ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import Response

from api.openapi_description.event_streams import EVENT_STREAM
from core.asyncio_tasks import end
from core.errors import JubakoError
from processes.http.closing_stream import ClosingResponse

T = TypeVar("T")

SILENCE_S = 10.0
"""Silence after which a ping is sent: proxies close streams that are silent for a minute, some after 15 s."""
PING = ": ping\n\n"
"""A comment, which clients skip."""

RenderError = Callable[[JubakoError], str]
"""Returns a contract's event for a failed stream."""


def event_text(name: str, data: Mapping[str, Any]) -> str:
    """Return one event as text; JSON has no line breaks, which would end the event early."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def started_stream(
    events: AsyncGenerator[str, None], render_error: RenderError, ping: str = PING, media_type: str = EVENT_STREAM
) -> Response:
    """Return the response once there is a first event, or it is time for a ping.

    An error before that is raised, so it can become an ordinary response; a later one becomes the last event.
    """
    with_pings = pinged(events, ping)
    first = await anext(with_pings)
    return ClosingResponse(_with_first(first, with_pings, render_error), media_type)


def stream(events: AsyncGenerator[str, None], render_error: RenderError) -> Response:
    """Return a response that begins at once."""
    return ClosingResponse(_until_error(pinged(events, PING), render_error), EVENT_STREAM)


async def pinged(events: AsyncGenerator[T, None], ping: T) -> AsyncGenerator[T, None]:
    """Yield events, and a ping whenever there was none for a while; closing the generator closes `events`."""
    async with aclosing(events):
        upcoming = asyncio.ensure_future(anext(events))
        try:
            while True:
                await asyncio.wait({upcoming}, timeout=SILENCE_S)
                if not upcoming.done():
                    yield ping
                    continue
                try:
                    event = upcoming.result()
                except StopAsyncIteration:
                    return
                yield event
                upcoming = asyncio.ensure_future(anext(events))
        finally:
            await end((upcoming,))


async def _with_first(
    first: str, rest: AsyncGenerator[str, None], render_error: RenderError
) -> AsyncGenerator[str, None]:
    async with aclosing(_until_error(rest, render_error)) as texts:
        yield first
        async for text in texts:
            yield text


async def _until_error(events: AsyncGenerator[str, None], render_error: RenderError) -> AsyncGenerator[str, None]:
    async with aclosing(events):
        try:
            async for text in events:
                yield text
        except JubakoError as error:
            yield render_error(error)
