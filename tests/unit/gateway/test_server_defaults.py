"""Settings that stand in for what a request does not say."""

from __future__ import annotations

from typing import Any

import pytest

from core.generation.draft import Draft
from core.generation.step_cache import StepCache
from gateway.assembly import assemble
from gateway.safety.content_policy import ContentPolicy
from models.catalogue.serving.served_models import served_catalogue
from settings import Settings
from standalone.in_process import Unmetered


async def asked(settings: Settings, field: str, **fields: Any) -> Any:
    """Return a field of the request that a draft with these fields becomes."""
    gateway = assemble(settings, served_catalogue(settings), {}, Unmetered(), ContentPolicy())
    return getattr(await gateway.check(Draft(prompt="a red apple", **fields)), field)


@pytest.mark.parametrize(
    ("field", "variable", "value", "without", "with_it"),
    [
        ("reproducible", "JUBAKO_REPRODUCIBLE", "true", False, True),
        ("step_cache", "JUBAKO_STEP_CACHE", "fast", StepCache.OFF, StepCache.FAST),
    ],
)
async def test_a_setting_holds_for_requests_that_do_not_say(
    field: str, variable: str, value: str, without: Any, with_it: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    assert await asked(Settings(), field) == without
    monkeypatch.setenv(variable, value)
    assert await asked(Settings(), field) == with_it
    assert await asked(Settings(), field, **{field: without}) == without
