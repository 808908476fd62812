"""The Model Context Protocol's own client, as agents use it."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any, Literal

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ImageContent, TextContent
from PIL import Image

Era = Literal["auto", "legacy"]
"""The newest protocol, without a handshake, or those before it."""


@dataclass
class Told:
    """The progress that a call was told of."""

    progress: list[float] = field(default_factory=list)
    messages: list[str] = field(default_factory=list)

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        assert total == 100
        self.progress.append(progress)
        self.messages.append(message or "")


@asynccontextmanager
async def agent(url: str, era: Era = "auto", key: str | None = None) -> AsyncIterator[Client]:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=120, verify=False) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=era) as client,
    ):
        yield client


def fields_of(result: CallToolResult) -> dict[str, Any]:
    """What a result says: its last content."""
    last = result.content[-1]
    assert isinstance(last, TextContent)
    fields: dict[str, Any] = json.loads(last.text)
    return fields


def images_of(result: CallToolResult) -> list[Image.Image]:
    shown = [each for each in result.content if isinstance(each, ImageContent)]
    images: list[Image.Image] = [Image.open(BytesIO(base64.b64decode(each.data))) for each in shown]
    assert [f"image/{(image.format or '').lower()}" for image in images] == [each.mime_type for each in shown]
    return images
