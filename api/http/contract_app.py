"""One HTTP contract as an application of its own: its routes, its shape of errors, its documentation.

It is mounted at the root, beside the others, and again, alone, under a prefix.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import Lifespan

from api.http.docs_pages import PAGES, page_routes
from api.openapi_description.finishing import finished
from core.errors import InvalidRequest, JubakoError, UnknownAddress, WrongMethod
from core.version import VERSION
from settings import settings

Refusal = Callable[[JubakoError], Response]
"""Turns an error into a response of the contract's own shape."""


class ContractApp(FastAPI):
    """Describes itself completely, errors included, on pages that load nothing from other servers."""

    open_paths: Collection[str] = PAGES
    """Addresses that need no key; the table of contracts says which."""

    def __init__(
        self, title: str, name: str, refused: type[BaseModel], lifespan: Lifespan[FastAPI] | None = None
    ) -> None:
        super().__init__(
            title=title,
            version=VERSION,
            openapi_url=None,
            lifespan=lifespan,
            generate_unique_id_function=lambda route: f"{name}_{route.name}",
        )
        self._refused = refused
        self._described: dict[str, Any] | None = None
        self.router.routes.extend(page_routes(title, self.openapi))

    def openapi(self) -> dict[str, Any]:
        """Return the description; it is made once."""
        if self._described is None:
            self._described = finished(super().openapi(), self._refused, settings(), self.open_paths)
        return self._described


def contract_app(
    title: str,
    name: str,
    router: APIRouter,
    refusal: Refusal,
    refused: type[BaseModel],
    lifespan: Lifespan[FastAPI] | None = None,
) -> FastAPI:
    """Return a contract's application; `refusal` answers every error, FastAPI's and Starlette's own included.

    `name` is the prefix of its operation ids, `refused` the model of error bodies. `lifespan` is for what must be
    closed with the server.
    """
    app = ContractApp(title, name, refused, lifespan)
    app.include_router(router)
    app.add_exception_handler(JubakoError, _handler(refusal))
    app.add_exception_handler(RequestValidationError, _handler(lambda error: refusal(_invalid(error))))
    app.add_exception_handler(HTTPException, _protocol_handler(refusal))
    return app


def _handler(answer: Callable[..., Response]) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(_: Request, error: Exception) -> Response:
        return answer(error)

    return handle


def _protocol_handler(refusal: Refusal) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def handle(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return refusal(_protocol_error(request, error))

    return handle


def _protocol_error(request: Request, error: HTTPException) -> JubakoError:
    """Turn what no route sees, such as a wrong method, into an error of ours."""
    match error.status_code:
        case 404:
            return UnknownAddress()
        case 405:
            return WrongMethod(request.method, (error.headers or {}).get("Allow", ""))
        case _:
            return InvalidRequest("body", error.detail)


def _invalid(error: RequestValidationError) -> InvalidRequest:
    """Return the first mistake, with the name of its field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    return InvalidRequest(field, str(first["msg"]))
