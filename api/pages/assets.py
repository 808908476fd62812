"""The scripts, styles and images of all pages: our own, and Swagger UI and ReDoc from the package fastapi-offline."""

from __future__ import annotations

from asyncio import to_thread
from pathlib import Path

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

ADDRESS = "/assets"
REDOC = "redoc.standalone.js"
LOGO = "https://cdn.redoc.ly/redoc/logo-mini.svg"
"""ReDoc would load this logo from its maker's server; we replace it by nothing."""
KEPT_S = 3600
"""How long browsers may cache assets; a newer release may have others."""


class Assets(StaticFiles):
    """Starlette's static files (ETags, nothing outside the folders), cached for a while."""

    def __init__(self) -> None:
        super().__init__(directory=Path(__file__).parent / "assets", packages=[("fastapi_offline", "static")])

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file."""
        response = await (self._redoc() if path == REDOC else super().get_response(path, scope))
        response.headers["Cache-Control"] = f"public, max-age={KEPT_S}"
        return response

    async def _redoc(self) -> Response:
        file, _ = await to_thread(self.lookup_path, REDOC)
        script = await to_thread(Path(file).read_text, encoding="utf-8")
        return Response(script.replace(LOGO, "data:,"), media_type="text/javascript")
