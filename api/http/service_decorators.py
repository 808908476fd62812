"""Class decorators that give a BentoML service its dependencies, and the applications mounted beside its own routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import bentoml
from starlette.types import ASGIApp

C = TypeVar("C", bound=type)


def in_front_of(services: Mapping[str, Any]) -> Callable[[C], C]:
    """Give a class one BentoML dependency for each service, so that they are started and probed with it."""

    def add(cls: C) -> C:
        for name, service in services.items():
            setattr(cls, f"runner_{name}", bentoml.depends(service))
        return cls

    return add


def mounted(*apps: tuple[ASGIApp, str]) -> Callable[[C], C]:
    """Mount applications beside the service's own routes; where two have the same address, the first answers."""

    def add(cls: C) -> C:
        for app, path in apps:
            bentoml.asgi_app(app, path=path)(cls)
        return cls

    return add
