"""The running service's gateway, job desk, storage and storyboard maker, for the contracts mounted on it."""

from __future__ import annotations

from typing import Any

from bentoml import get_current_service
from starlette.requests import Request

from core.caller import current_caller
from gateway.gateway import Gateway
from jobs.desk.caller_desk import CallerDesk, Shows
from jobs.desk.desk import JobDesk
from settings import settings
from storage.client import Storage
from storyboard.maker import Maker


def current_gateway() -> Gateway:
    """Return the gateway of the service that this process runs."""
    service: Any = get_current_service()
    gateway: Gateway = service.gateway
    return gateway


def current_desk(shows: Shows | None = None) -> CallerDesk:
    """Return the job desk for the current caller, limited to the jobs that a contract `shows`, if it is given."""
    return CallerDesk(running_desk(), current_caller(), shows)


def running_desk() -> JobDesk:
    """Return the job desk of the service that this process runs, with everybody's jobs: not for answering callers."""
    service: Any = get_current_service()
    desk: JobDesk = service.desk
    return desk


def current_storage() -> Storage:
    """Return the storage of the service that this process runs."""
    service: Any = get_current_service()
    storage: Storage = service.storage
    return storage


def current_maker(request: Request) -> Maker:
    """Return the storyboard maker of the application that serves the request, or else of this process's service."""
    own: Maker | None = getattr(request.app.state, "maker", None)
    if own is not None:
        return own
    service: Any = get_current_service()
    maker: Maker = service.maker
    return maker


def server_address(request: Request) -> str:
    """Return this server's address as clients know it, without the prefix that a contract may be mounted under."""
    return settings().public_url or str(request.base_url).rstrip("/")
