"""`JUBAKO_UI=false`: the page is not there, and nothing leads to it."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from api.contracts import CONTRACTS
from api.ui import app
from core.errors import UnknownAddress
from settings import Settings


@pytest.mark.parametrize("path", ["/ui", "/ui/", "/ui/gradio_api/queue/data"])
def test_the_page_can_be_switched_off(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app, "settings", lambda: Settings(ui=False))
    with TestClient(app.ui_app) as client, pytest.raises(UnknownAddress):
        client.get(path)


def test_it_belongs_to_a_contract_so_that_the_door_is_in_front_of_it() -> None:
    assert CONTRACTS.owns("/ui/gradio_api/queue/join")
    assert not CONTRACTS.is_open({"type": "http", "path": "/ui/", "method": "GET"})
