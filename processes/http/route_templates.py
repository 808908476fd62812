"""The routes of an application as templates, such as `/api/{session_id}/status`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from fastapi.routing import iter_route_contexts
from starlette.routing import BaseRoute, Mount, compile_path

OTHER = "other"
"""The template of all paths without a route."""


class RouteTemplates:
    """Finds the template that a path belongs to, whatever its method."""

    def __init__(self, routes: Sequence[BaseRoute]) -> None:
        # If two match, prefer the one with fewer parameters: /api/{session_id}/status, not /api/{model}/{kind}.
        templates = sorted(dict.fromkeys(_templates(routes, "")), key=lambda template: template.count("{"))
        self._patterns: list[tuple[re.Pattern[str], str]] = [(compile_path(text)[0], text) for text in templates]

    def of(self, path: str) -> str:
        """Return a path's template, or OTHER."""
        return next((template for pattern, template in self._patterns if pattern.match(path)), OTHER)


def _templates(routes: Sequence[BaseRoute], prefix: str) -> Iterator[str]:
    for route in iter_route_contexts(routes):
        path = prefix + (route.path or "")
        mounted = route.original_route
        if not isinstance(mounted, Mount):
            yield path
        elif hasattr(mounted.app, "routes"):
            yield from _templates(mounted.routes, path)
        else:
            yield f"{path}/{{path:path}}"
