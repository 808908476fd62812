"""The tools as a server of the official SDK, which speaks both generations of the protocol, with and without handshake.

Imported at the first request.
"""

from __future__ import annotations

import base64
import json
import logging
from typing import Any

from mcp import MCPError
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ContentBlock,
    ImageContent,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from api.http.refusals import refusal_body
from api.mcp.answers import ToolResult
from api.mcp.tools import TOOLS, ToolSpec, call
from core.errors import GenerationFailed, JubakoError, retry_fields
from core.version import VERSION
from settings import settings

log = logging.getLogger(__name__)

INSTRUCTIONS = (
    "Generates and edits images, videos and storyboards with diffusion models. Each result belongs to a job; its id "
    "names the result as an input of later calls, and job_status shows it again."
)

Context = ServerRequestContext[Any, Any]


def session_manager() -> StreamableHTTPSessionManager:
    """Return what answers requests over HTTP; it is stateless, so any process can answer any request."""
    # Hosts, origins and sizes are checked before any contract is reached.
    return StreamableHTTPSessionManager(_server(), stateless=True, max_request_body_size=settings().max_upload_bytes)


def _server() -> Server[Any]:
    return Server(
        "jubako",
        title="Jubako",
        version=VERSION,
        instructions=INSTRUCTIONS,
        on_list_tools=_list_tools,
        on_call_tool=_call_tool,
    )


async def _list_tools(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=[_described(spec) for spec in TOOLS.values()])


async def _call_tool(context: Context, params: CallToolRequestParams) -> CallToolResult:
    spec = TOOLS.get(params.name)
    if spec is None:
        raise MCPError(INVALID_PARAMS, f"there is no tool {params.name!r}, but {', '.join(TOOLS)}")

    assert context.request is not None, "over HTTP, every message has one"

    async def report(progress: int, message: str) -> None:
        await context.session.report_progress(progress, 100, message)

    try:
        return _result(await call(spec, context.request, params.arguments or {}, report))
    except JubakoError as error:
        return _failure(error)
    # The SDK would send other exceptions' text to clients of the older protocol.
    except Exception:
        log.exception("the tool %s failed", spec.name)
        return _failure(GenerationFailed("the server failed; its log says why"))


def _described(spec: ToolSpec) -> Tool:
    return Tool(
        name=spec.name,
        title=spec.title,
        description=spec.description,
        input_schema=spec.input_schema,
        annotations=ToolAnnotations(read_only_hint=spec.reads_only, destructive_hint=False, open_world_hint=False),
    )


def _result(answer: ToolResult) -> CallToolResult:
    images: list[ContentBlock] = [
        ImageContent(data=base64.b64encode(image.data).decode(), mime_type=image.media_type) for image in answer.images
    ]
    fields = dict(answer.fields)
    # Programs that show structured content show nothing else, so answers with images have none.
    return CallToolResult(content=[*images, _text(fields)], structured_content=None if images else fields)


def _failure(error: JubakoError) -> CallToolResult:
    """Return a tool's error as the protocol wants it: as a result, which the model can read to correct its call."""
    fields = {**refusal_body(error), **retry_fields(error)}
    return CallToolResult(content=[_text(fields)], structured_content=fields, is_error=True)


def _text(fields: dict[str, Any]) -> TextContent:
    return TextContent(text=json.dumps(fields, ensure_ascii=False))
