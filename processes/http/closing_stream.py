"""HTTP streams that end when the client disconnects."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send


class ClosingResponse(StreamingResponse):
    """Closes its source as soon as the reader is gone. Starlette leaves that to the garbage collector, so the source
    would keep running without a reader.
    """

    def __init__(self, source: AsyncGenerator[str | bytes, None], media_type: str) -> None:
        super().__init__(source, media_type=media_type, headers={"Cache-Control": "no-store"})
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._source):
            await super().__call__(scope, receive, send)
