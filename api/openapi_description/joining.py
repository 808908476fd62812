"""One description of several contracts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from core.version import VERSION

ABOUT = """\
Image and video generation with diffusers models. `GET /models` lists those of this server, with the limits of each.

Errors say which field is wrong and what is allowed; their `code` never changes. Errors after which retrying may help
have the header `Retry-After`.
"""


def joined(title: str, descriptions: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Join OpenAPI descriptions, tagging operations with their contract's title; the first of equal paths wins."""
    paths: dict[str, Any] = {}
    components: dict[str, dict[str, Any]] = {}
    tags: list[dict[str, str]] = []
    security: Any = []
    for each in descriptions:
        name = each["info"]["title"]
        tags.append({"name": name})
        security = each["security"]
        for path, methods in each["paths"].items():
            paths.setdefault(path, {method: {**operation, "tags": [name]} for method, operation in methods.items()})
        for kind, named in each["components"].items():
            _join(components.setdefault(kind, {}), named)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": VERSION, "description": ABOUT},
        "tags": tags,
        "paths": paths,
        "components": components,
        "security": security,
    }


def _join(components: dict[str, Any], more: dict[str, Any]) -> None:
    for name, component in more.items():
        assert components.setdefault(name, component) == component, f"two components are called {name}"
