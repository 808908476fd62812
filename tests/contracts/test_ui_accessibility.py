"""axe-core finds no serious violation on the page `/ui`: on no tab, in light and dark, before and after drawing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.replica import Replica
from tests.support.serving import ROOT
from tests.support.ui_page import open_tab, ui_browser

AXE = ROOT / "tests/clients/javascript/node_modules/axe-core/axe.min.js"
SERIOUS = ("serious", "critical")

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or not AXE.exists(), reason="needs chromium and axe-core (tools/need-chromium, tools/need-clients)"
)


@pytest.fixture(scope="module")
def browsed(openai_server: Replica) -> Iterator[Browsed]:
    with ui_browser(openai_server.url) as browser:
        yield browser


def violations(page: Page) -> list[str]:
    """Return the serious ones, with the elements that have them."""
    page.evaluate(AXE.read_text("utf-8"))
    found: list[dict[str, Any]] = page.evaluate(
        "axe.run(document, {resultTypes: ['violations']}).then(r => r.violations)"
    )
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes']]}"
        for each in found
        if each["impact"] in SERIOUS
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["Create", "Edit", "Video", "Storyboard", "Gallery", "Jobs and models"])
def test_no_serious_violation(tab: str, scheme: str, browsed: Browsed) -> None:
    browsed.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    with open_tab(browsed, tab) as page:
        assert violations(page) == []


def test_none_with_an_image_either(browsed: Browsed) -> None:
    with open_tab(browsed, "Create") as page:
        page.get_by_label("Prompt", exact=True).first.fill("a red apple")
        page.get_by_label("Steps").first.fill("2")
        page.locator("#create-draw").click()
        expect(page.locator("#create-images img").first).to_be_visible()
        assert violations(page) == []
