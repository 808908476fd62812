"""`/docs`, `/redoc` and `/openapi.json` at the root: all contracts on one page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from core.version import VERSION

TITLE = "Jubako"
_SCHEMA = "/openapi.json"


def docs_app(contracts: Sequence[FastAPI]) -> Starlette:
    """Return the application that documents these contracts together; where two share a path, the first wins."""

    async def schema(request: Request) -> JSONResponse:
        return JSONResponse({**joined_schema(contracts), "servers": [{"url": _prefix(request) or "/"}]})

    async def swagger(request: Request) -> Response:
        return get_swagger_ui_html(openapi_url=_prefix(request) + _SCHEMA, title=TITLE)

    async def redoc(request: Request) -> Response:
        return get_redoc_html(openapi_url=_prefix(request) + _SCHEMA, title=TITLE)

    return Starlette(routes=[Route(_SCHEMA, schema), Route("/docs", swagger), Route("/redoc", redoc)])


def _prefix(request: Request) -> str:
    """Return what a proxy shows the server under (`api.http.addresses`)."""
    prefix: str = request.scope["root_path"]
    return prefix


def joined_schema(contracts: Sequence[FastAPI]) -> dict[str, Any]:
    """Return one OpenAPI description of all contracts; operations are tagged with their contract's title."""
    paths: dict[str, Any] = {}
    schemas: dict[str, Any] = {}
    for contract in contracts:
        own = contract.openapi()
        schemas |= own.get("components", {}).get("schemas", {})
        for path, operations in own["paths"].items():
            for operation in operations.values():
                operation.setdefault("tags", [contract.title])
            paths.setdefault(path, operations)
    return {
        "openapi": "3.1.0",
        "info": {"title": TITLE, "version": VERSION},
        "paths": paths,
        "components": {"schemas": schemas},
    }
