"""Requests are labelled by their routes, and metrics are read with a key."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Mount
from starlette.types import ASGIApp, Scope

from access.keys import Keyring
from access.metrics import may_read_gateway, may_read_runner
from api.contracts import CONTRACTS
from api.http.result_files import files_app
from processes.http.route_templates import OTHER, RouteTemplates
from settings.sections.access import AccessOptions


def _all_routes() -> RouteTemplates:
    """The routes of all contracts and of stored files, mounted as BentoML does."""
    apps: list[tuple[ASGIApp, str]] = [*CONTRACTS.mounts, (files_app(Path("/nowhere")), "/")]
    return RouteTemplates([Mount(path, app) for app, path in apps])


TEMPLATES = _all_routes()
METRICS, ADMIN, ALICE, RUNNER = (f"{name}-0123456789abcdef" for name in ("metrics", "admin", "alice", "runner"))


@pytest.mark.parametrize(
    ("path", "template"),
    [
        ("/health", "/health"),
        ("/models/sdxl/load", "/models/{id}/load"),
        ("/v1/models", "/v1/models"),
        ("/v1/models/a/b", "/v1/models/{model:path}"),
        ("/openai/v1/images/stream", "/openai/v1/images/stream"),
        ("/api/jobs", "/api/jobs"),
        ("/api/4d1f/status", "/api/{session_id}/status"),
        ("/api/4d1f/events", "/api/{session_id}/events"),
        ("/generator/api/4d1f", "/generator/api/{session_id}"),
        ("/api/sdxl/t2i", "/api/{model}/{kind}"),
        ("/files/generations/a/b.png", "/files/generations/{path:path}"),
        ("/nowhere", OTHER),
        ("/api/a/b/c/d", OTHER),
        ("nowhere", OTHER),
        ("", OTHER),
    ],
)
def test_the_template_of_a_path(path: str, template: str) -> None:
    assert TEMPLATES.of(path) == template


def test_templates_are_as_many_as_routes() -> None:
    assert len({TEMPLATES.of(f"/api/{number}/status") for number in range(100)}) == 1


def _scope(key: str | None) -> Scope:
    return {"type": "http", "headers": [] if key is None else [(b"authorization", f"Bearer {key}".encode())]}


def _readers(may_read: object) -> set[str | None]:
    assert callable(may_read)
    return {key for key in (None, METRICS, ADMIN, ALICE, RUNNER) if may_read(_scope(key))}


def _gateway(metrics_key: str | None, **keys: object) -> set[str | None]:
    return _readers(may_read_gateway(metrics_key, Keyring.of(AccessOptions.model_validate(keys))))


def test_who_reads_a_gateways() -> None:
    everyone = {None, METRICS, ADMIN, ALICE, RUNNER}
    keys = {"api_keys": {"alice": ALICE}, "admin_key": ADMIN}
    assert _gateway(None) == everyone
    assert _gateway(None, **keys) == {ADMIN}
    assert _gateway(METRICS, **keys) == {METRICS, ADMIN}
    assert _gateway(METRICS) == {METRICS}


def test_who_reads_a_runners() -> None:
    assert None in _readers(may_read_runner(None, None))
    assert _readers(may_read_runner(None, RUNNER)) == {RUNNER}
    assert _readers(may_read_runner(METRICS, RUNNER)) == {RUNNER, METRICS}
