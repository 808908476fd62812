"""`GET /files/generations/...`: results stored in a local folder, for anyone who knows their names."""

from __future__ import annotations

import os
from pathlib import Path

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import NotModifiedResponse, PathLike, StaticFiles
from starlette.types import Scope

from api.http.refusals import refusal
from storage.client import Storage
from storage.errors import NotStored
from storage.keys import CACHE_CONTROL, RESULTS, media_type_of


class _Results(StaticFiles):
    """Starlette's files (ranges, ETags, nothing outside the folder), with our media types and long-lived caching."""

    async def check_config(self) -> None:
        """Accept a missing folder: the first result creates it."""

    def file_response(
        self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200
    ) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers["Cache-Control"] = CACHE_CONTROL
        if not isinstance(response, NotModifiedResponse):
            response.headers["Content-Type"] = media_type_of(str(full_path))
            response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def files_app(folder: Path | None) -> Starlette:
    """Return an application that serves the results in a folder; without one, they are in a cloud, and it is empty."""
    if folder is None:
        return Starlette()
    results = _Results(directory=folder / RESULTS, check_dir=False)
    return Starlette(routes=[Mount(f"/files/{RESULTS}", results)], exception_handlers={404: _not_stored})


async def file_url(key: str, storage: Storage, base_url: str) -> str:
    """Return the full URL of a stored file; one in a local folder is served by this server, at `base_url`."""
    url = await storage.url(key)
    return f"{base_url}{url}" if url.startswith("/") else url


async def _not_stored(_: Request, __: Exception) -> Response:
    return refusal(NotStored())
