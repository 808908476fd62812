"""The limit on the size of request bodies, for every address of the server."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.contract_table import ContractTable
from api.http.requests.parsing import body_type
from api.openapi_description.bodies import MULTIPART
from core.caller import Caller, current_caller
from core.errors import TooLarge
from core.interrupted import Interrupted

FORM_BYTES = 4096
"""Allowance for what a form has around its file."""


class UploadLimit:
    """ASGI middleware behind `processes.http.guard`: ends requests whose declared or actual length is too large."""

    def __init__(
        self,
        app: ASGIApp,
        max_bytes: int,
        max_model_bytes: int,
        contracts: ContractTable,
        manages: Callable[[Caller], bool],
    ) -> None:
        """`max_model_bytes` is the limit at addresses that take model files, for callers who may manage models."""
        self._app = app
        self._max_bytes = max_bytes
        self._max_model_bytes = max_model_bytes + FORM_BYTES
        self._contracts = contracts
        self._manages = manages

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        # Only forms contain files.
        is_form = self._contracts.takes_models(scope) and body_type(headers) == MULTIPART
        is_large = is_form and self._manages(current_caller())
        max_bytes = self._max_model_bytes if is_large else self._max_bytes
        _refuse_over(max_bytes, int(headers.get("content-length", 0)))
        seen_bytes = 0

        async def counted() -> Message:
            nonlocal seen_bytes
            message = await receive()
            seen_bytes += len(message.get("body", b""))
            _refuse_over(max_bytes, seen_bytes)
            return message

        await self._app(scope, counted, send)


def _refuse_over(max_bytes: int, size_bytes: int) -> None:
    if size_bytes > max_bytes:
        raise Interrupted(TooLarge(f"the request body is larger than {max_bytes} bytes"))
