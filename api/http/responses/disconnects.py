"""Clients that disconnect: their requests are cancelled, since nobody would see the results."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import Request

from core.asyncio_tasks import first_of
from core.errors import Cancelled

T = TypeVar("T")


async def unless_disconnected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` returns; cancel it and raise Cancelled if the client disconnects first.

    The request's body must have been read.
    """
    return await first_of(work, _disconnect(request), Cancelled("the client disconnected"))


async def _disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
