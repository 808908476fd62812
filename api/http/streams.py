"""Server-sent events, and how a response with them begins."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from starlette.responses import Response

from processes.closing_stream import ClosingResponse

EVENT_STREAM = "text/event-stream"


def event_text(name: str, data: Mapping[str, Any]) -> str:
    """Return one event as it is sent; JSON has no line breaks, which would end it early."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n"


async def started_stream(events: AsyncGenerator[str, None]) -> Response:
    """Return the response once the first event is there; an error before it is raised, for an ordinary response."""
    first = await anext(events)
    return ClosingResponse(_with_first(first, events), EVENT_STREAM)


async def _with_first(first: str, rest: AsyncGenerator[str, None]) -> AsyncGenerator[str, None]:
    async with aclosing(rest):
        yield first
        async for text in rest:
            yield text
