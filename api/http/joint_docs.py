"""The pages at the root: all contracts and the typed APIs in one description."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from starlette.applications import Starlette

from api.http.contract_table import ContractTable
from api.http.docs_pages import ASSETS, page_routes
from api.openapi_description.joining import joined

TITLE = "Jubako"
BENTOMLS = "/docs.json"
"""Where BentoML serves its own description, which has the typed APIs only."""


def docs_app(contracts: ContractTable, typed: Callable[[], dict[str, Any]]) -> Starlette:
    """Return the application that documents the typed APIs (`typed`) and these contracts together."""

    @cache
    def describe() -> dict[str, Any]:
        return joined(TITLE, [typed(), *(app.openapi() for app in contracts.documented)])

    return Starlette(routes=[*page_routes(TITLE, describe, BENTOMLS), ASSETS])
