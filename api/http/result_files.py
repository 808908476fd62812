"""`/files/generations/...`: results in a local folder, for anyone who has their addresses; their owners can delete them
there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import NotModifiedResponse, PathLike, StaticFiles
from starlette.types import ExceptionHandler, Scope

from api.http.context import current_desk, current_storage
from api.http.refusals import refusal
from core.errors import JubakoError
from storage.client import Storage
from storage.errors import NotStored
from storage.file_keys import CACHE_CONTROL, RESULTS, media_type_of


class _Results(StaticFiles):
    """Starlette's files (ranges, ETags, nothing outside the folder), with our media types and long-lived caching."""

    async def check_config(self) -> None:
        """Accept a missing folder: the first result creates it."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        token = QueryParams(scope["query_string"]).get("token", "")
        if not current_storage().is_open(f"{RESULTS}/{path}", token):
            raise NotStored
        return await super().get_response(path, scope)

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
    """Return an application that serves the results in a folder; without one, they are in a cloud and not served."""
    delete: BaseRoute = Route(f"/files/{RESULTS}/{{path:path}}", _delete, methods=["DELETE"])
    handlers: Mapping[Any, ExceptionHandler] = {404: _not_stored, JubakoError: _refused}
    if folder is None:
        return Starlette(routes=[delete], exception_handlers=handlers)
    results = Mount(f"/files/{RESULTS}", _Results(directory=folder / RESULTS, check_dir=False))
    return Starlette(routes=[delete, results], exception_handlers=handlers)


async def file_url(key: str, storage: Storage, base_url: str) -> str:
    """Return the full URL of a stored file; one in a local folder is served by this server, at `base_url`."""
    url = await storage.url(key)
    return f"{base_url}{url}" if url.startswith("/") else url


async def _delete(request: Request) -> Response:
    await current_desk().delete_file(f"{RESULTS}/{request.path_params['path']}")
    return Response(status_code=204)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, JubakoError)
    return refusal(error)


async def _not_stored(_: Request, __: Exception) -> Response:
    return refusal(NotStored())
