"""One HTTP contract as an application of its own: its routes, its shape of errors, its documentation.

It is mounted at the root, beside the others, and again by itself under a prefix.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from core.errors import InvalidRequest, JubakoError, UnknownAddress, WrongMethod
from core.version import VERSION

Refusal = Callable[[JubakoError], Response]
"""Turns an error into a response of the contract's own shape."""


def contract_app(title: str, router: APIRouter, refusal: Refusal) -> FastAPI:
    """Return a contract's application; `refusal` answers every error, FastAPI's and Starlette's own included."""
    app = FastAPI(title=title, version=VERSION)
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
    """Return what no route sees, such as a wrong method, as an error of ours."""
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
