"""A Model Context Protocol server on standard input and output, for programs that start their servers themselves.

It offers the tools of a Jubako server and forwards calls. Since it runs where the files are, images and videos can be
given by path, and results are saved too; see `local_files.py`.
"""

from __future__ import annotations

import asyncio
import json
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
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
)

from ..connection import AsyncConnection, client_options
from ..errors import Refused, Unreachable
from .local_files import NotAllowed, saved, with_files

TIMEOUT_S = 3600.0
"""Time limit of a call; long, since the calling program has its own."""
Context = ServerRequestContext[Any, Any]


def serve(url: str | None) -> None:
    """Serve until the input ends."""
    asyncio.run(_serve(url))


async def _serve(url: str | None) -> None:
    reached = client_options(url, None, TIMEOUT_S)
    async with (
        httpx2.AsyncClient(auth=reached["auth"], timeout=TIMEOUT_S) as http,
        Client(streamable_http_client(f"{reached['base_url']}/mcp", http_client=http)) as jubako,
        stdio_server() as (incoming, outgoing),
    ):
        server = _server(jubako, AsyncConnection(url, None, TIMEOUT_S))
        await server.run(incoming, outgoing, server.create_initialization_options())


def _server(jubako: Client, files: AsyncConnection) -> Server[Any]:
    async def list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return await jubako.list_tools()

    async def call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
        try:
            arguments = await asyncio.to_thread(with_files, params.arguments or {})
        except NotAllowed as error:
            return CallToolResult(content=[TextContent(text=str(error))], is_error=True)
        result = await jubako.call_tool(params.name, arguments, progress_callback=context.session.report_progress)
        return result if result.is_error else await _with_saved(result, files)

    return Server("jubako", on_list_tools=list_tools, on_call_tool=call_tool)


async def _with_saved(result: CallToolResult, files: AsyncConnection) -> CallToolResult:
    """Save the full-size files that a result names, and add their paths to the result."""
    try:
        paths = await saved(_fields(result), files)
    except (OSError, Refused, Unreachable) as error:
        # The results exist nonetheless.
        note = f"not saved: {error}"
    else:
        note = f"saved: {', '.join(map(str, paths))}" if paths else ""
    return result.model_copy(update={"content": [*result.content, TextContent(text=note)]}) if note else result


def _fields(result: CallToolResult) -> dict[str, Any]:
    """Return the JSON in a result's last text."""
    texts = [each.text for each in result.content if isinstance(each, TextContent)]
    fields = json.loads(texts[-1]) if texts else {}
    return fields if isinstance(fields, dict) else {}
