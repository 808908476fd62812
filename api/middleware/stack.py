"""The middlewares in front of every address of a server, in their order, so that all refusals have the same shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from access.keys import Keyring
from access.rates import RateLimiter
from access.sites import Sites
from api.http.contract_table import ContractTable
from api.middleware.decompression import Unpacking
from api.middleware.door import Door
from api.middleware.head_requests import HeadLikeGet
from api.middleware.open_streams import OpenStreams
from api.middleware.page_key import PageKey
from api.middleware.paths import Addresses
from api.middleware.request_ids import RequestIds
from api.middleware.sites import SiteGuard, cors
from api.middleware.upload_limit import UploadLimit
from processes.drain import Drain
from processes.drain_middleware import Draining
from processes.http.guard import Guard
from settings import Settings

Middleware = tuple[Any, dict[str, Any]]
"""An ASGI middleware's class, and its options."""


def entrance(settings: Settings, contracts: ContractTable) -> Iterator[Middleware]:
    """Yield the outermost middlewares, which also precede the metrics that count requests by address."""
    yield RequestIds, {}
    proxies = {"public_url": settings.public_url, "trusted_proxies": settings.trusted_proxies}
    yield Addresses, {"contracts": contracts, **proxies}


def middleware_stack(
    settings: Settings, keyring: Keyring, limiter: RateLimiter, contracts: ContractTable, drain: Drain | None = None
) -> Iterator[Middleware]:
    """Yield the middlewares, outermost first; servers that finish their requests before they end pass a `drain`."""
    if settings.cors_origins:
        # Before all that refuse, so that an allowed page can read why.
        yield cors(settings.cors_origins)
    yield Guard, {"refusal_for": contracts.refusal_for, "client_timeout_s": settings.client_timeout_s}
    yield SiteGuard, {"sites": Sites.of(settings, keyring.closed), "contracts": contracts}
    if drain is not None:
        yield Draining, {"drain": drain, "refusal_for": contracts.refusal_for, "generates": contracts.generates}
    yield PageKey, {"keyring": keyring, "contracts": contracts}
    yield Door, {"keyring": keyring, "limiter": limiter, "contracts": contracts}
    yield OpenStreams, {"most": settings.max_streams_per_client, "contracts": contracts}
    most = {"max_bytes": settings.max_upload_bytes, "max_model_bytes": settings.max_lora_bytes}
    upload_limit = UploadLimit, {**most, "contracts": contracts, "manages": keyring.manages}
    yield upload_limit
    yield Unpacking, {}
    yield upload_limit
    yield HeadLikeGet, {}
