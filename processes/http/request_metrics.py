"""BentoML's request metrics, labelled by route.

BentoML's own label is the path as requested, so readers of the metrics would learn ids of jobs and names of results,
and anyone could fill memory and disk with time series by requesting odd paths.
"""

from __future__ import annotations

from collections.abc import Callable

from anyio.to_thread import run_sync
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from processes.http.route_templates import RouteTemplates

NAMESPACE = "bentoml_service"
INSTEAD = {"enabled": False, "namespace": NAMESPACE}
"""The `metrics` option of a BentoML service that uses these metrics instead of BentoML's."""
PATH = "/metrics"
_PROBES = ("/livez", "/readyz", "/healthz")
_AS_IT_CAME = "jubako.scope"


class RequestMetrics:
    """ASGI middleware: counts and times requests by the templates of their routes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._measured = RunnerTrafficMetricsMiddleware(self._answer, NAMESPACE, _PROBES)
        self._templates: RouteTemplates | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if self._templates is None:
            self._templates = RouteTemplates(scope["app"].routes)
        shown = {**scope, "path": self._templates.of(scope["path"]), _AS_IT_CAME: scope}
        await self._measured(shown, receive, send)

    async def _answer(self, shown: Scope, receive: Receive, send: Send) -> None:
        await self._app(shown[_AS_IT_CAME], receive, send)


def metrics_app(may_read: Callable[[Scope], bool]) -> Starlette:
    """Return an application with `GET /metrics`: the figures of all processes of this server."""

    async def metrics(request: Request) -> Response:
        if not may_read(request.scope):
            refused = {"error": "the metrics need a key: Authorization: Bearer KEY", "code": "unauthorized"}
            return JSONResponse(refused, 401, {"WWW-Authenticate": "Bearer"})
        client = BentoMLContainer.metrics_client.get()
        return Response(await run_sync(client.generate_latest), media_type=client.CONTENT_TYPE_LATEST)

    return Starlette(routes=[Route(PATH, metrics)])
