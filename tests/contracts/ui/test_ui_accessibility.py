"""axe-core finds no serious violation on the page `/ui`: on no tab, in light and dark, before and after drawing."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.serving import ROOT
from tests.support.ui_page import draw, open_tab

AXE = ROOT / "tests/clients/javascript/node_modules/axe-core/axe.min.js"
SERIOUS = ("serious", "critical")
MOVING = """[...document.querySelectorAll("*")].filter(
    element => getComputedStyle(element).transitionDuration.split(",").some(time => parseFloat(time) > 0)
).length"""
"""How many elements would take their time to change."""

pytestmark = pytest.mark.skipif(
    CHROMIUM is None or not AXE.exists(), reason="needs chromium and axe-core (tools/need-chromium, tools/need-clients)"
)


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
    # Colours that are on their way to others have contrasts of their own.
    browsed.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    with open_tab(browsed, tab) as page:
        is_dark = expect(page.locator("body"))
        (is_dark.to_have_class if scheme == "dark" else is_dark.not_to_have_class)(re.compile(r"\bdark\b"))
        if tab == "Edit":
            # Without its canvas, the background of the text on it is not known.
            expect(page.locator("#edit-canvas canvas").first).to_be_visible()
        assert violations(page) == []


def test_nothing_moves_for_who_asks_for_that(browsed: Browsed) -> None:
    """Gradio's tabs, buttons and fields change their colours slowly otherwise."""
    page = browsed.page
    with open_tab(browsed, "Create"):
        page.emulate_media(reduced_motion="no-preference")
        assert page.evaluate(MOVING) > 0
        page.emulate_media(reduced_motion="reduce")
        assert page.evaluate(MOVING) == 0


def test_none_with_an_image_either(browsed: Browsed) -> None:
    with open_tab(browsed, "Create") as page:
        draw(page)
        assert violations(page) == []
