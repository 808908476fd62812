"""`GET /files/generations/...`: results that are kept in a local folder, for whoever knows their names."""

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
from storage.errors import NotStored
from storage.keys import CACHE_CONTROL, RESULTS, media_type_of


class _Results(StaticFiles):
    """Starlette's files (ranges, ETags, nothing outside the folder), with our media types and lasting caches."""

    async def check_config(self) -> None:
        """Do without the folder: it comes with the first result."""

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
    """Return an application that serves a storage folder's results; nothing when they are kept in a cloud."""
    if folder is None:
        return Starlette()
    results = _Results(directory=folder / RESULTS, check_dir=False)
    return Starlette(routes=[Mount(f"/files/{RESULTS}", results)], exception_handlers={404: _not_stored})


async def _not_stored(_: Request, __: Exception) -> Response:
    return refusal(NotStored())
