"""A server of the Model Context Protocol on standard input and output, for programs that start their servers.

It has the tools of a Jubako server and passes calls on. Since it runs where the files are, images may be given by
their paths, and results are saved into a folder as well, JUBAKO_CLIENT_FOLDER, if that is set.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types import (
    CallToolRequestParams,
    CallToolResult,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from .calls import FILES
from .connection import options

FOLDER = "JUBAKO_CLIENT_FOLDER"
TIMEOUT_S = 3600.0
"""A call's: the program at the other end has one of its own."""
SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/webp": ".webp", "image/gif": ".gif"}

Context = ServerRequestContext[Any, Any]


def serve(url: str | None) -> None:
    """Serve until the input ends."""
    asyncio.run(_serve(url))


async def _serve(url: str | None) -> None:
    reached = options(url, None, TIMEOUT_S)
    async with (
        httpx2.AsyncClient(auth=reached["auth"], timeout=TIMEOUT_S) as http,
        Client(streamable_http_client(f"{reached['base_url']}/mcp", http_client=http)) as jubako,
        stdio_server() as (incoming, outgoing),
    ):
        server = _server(jubako)
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(jubako: Client) -> Server[Any]:
    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return await jubako.list_tools()

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        arguments = await asyncio.to_thread(with_files, params.arguments or {})
        result = await jubako.call_tool(params.name, arguments, progress_callback=context.session.report_progress)
        return await asyncio.to_thread(_saved, result)

    return Server("jubako", on_list_tools=list_tools, on_call_tool=call_tool)


def with_files(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments with the contents of the files that they name."""
    read = {name: _content(value) for name, value in arguments.items() if name in FILES}
    if isinstance(images := arguments.get("images"), list):
        read["images"] = [_content(each) for each in images]
    return {**arguments, **read}


def _content(value: Any) -> Any:
    # Base64 of an image is longer than any path.
    if not isinstance(value, str) or len(value) > 1000 or not Path(value).expanduser().is_file():
        return value
    return base64.b64encode(Path(value).expanduser().read_bytes()).decode()


def _saved(result: CallToolResult) -> CallToolResult:
    """Save a result's images, and add their paths."""
    images = [each for each in result.content if isinstance(each, ImageContent)]
    if not images or not (folder := os.environ.get(FOLDER)):
        return result
    Path(folder).mkdir(parents=True, exist_ok=True)
    paths = [_save(Path(folder), _job_of(result), number, image) for number, image in enumerate(images)]
    return result.model_copy(update={"content": [*result.content, TextContent(text=f"saved: {', '.join(paths)}")]})


def _job_of(result: CallToolResult) -> str:
    """Return the id of the job that a result belongs to, for names of files."""
    told = next(each for each in reversed(result.content) if isinstance(each, TextContent))
    return str(json.loads(told.text)["job"])


def _save(folder: Path, job: str, number: int, image: ImageContent) -> str:
    path = folder / f"{job}_{number}{SUFFIXES[image.mime_type]}"
    path.write_bytes(base64.b64decode(image.data))
    return str(path)
