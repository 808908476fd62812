"""An ASGI application behind uvicorn in this process, with the protocols of our servers; and what raw sockets say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from starlette.types import ASGIApp

from processes.http.protocol import BoundedHttp, BoundedWebSocket


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """Serve on the running loop until the block ends; yields the port."""
    config = uvicorn.Config(app, http=BoundedHttp, ws=BoundedWebSocket, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


async def said_to(port: int, sent: bytes) -> bytes:
    """Return all that a server says to some bytes until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(sent)
    answer = await reader.read()
    writer.close()
    return answer
