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
TABS = ("Create", "Edit", "Video", "Storyboard", "Gallery", "Jobs and models")
PLOTS = ".vega-embed"
"""Gradio's, which give the marks in them no names; they appear a few seconds after their tab."""
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
        f"axe.run({{exclude: ['{PLOTS}']}}, {{resultTypes: ['violations']}}).then(r => r.violations)"
    )
    return [
        f"{each['id']}: {each['help']}: {[node['html'][:120] for node in each['nodes']]}"
        for each in found
        if each["impact"] in SERIOUS
    ]


def test_no_serious_violation(browsed: Browsed) -> None:
    """On a page that is loaded once, which is most of what it costs."""
    found = {}
    with open_tab(browsed, "Create") as page:
        for tab in TABS:
            page.get_by_role("tab", name=tab, exact=True).click()
            expect(page.get_by_role("tabpanel").filter(visible=True)).to_have_count(1)
            if tab == "Edit":
                # Without its canvas, the background of the text on it is not known.
                expect(page.locator("#edit-canvas canvas").first).to_be_visible()
            for scheme in ("light", "dark"):
                show_in(page, scheme)
                found[tab, scheme] = violations(page)
    assert {place: there for place, there in found.items() if there} == {}


def show_in(page: Page, scheme: str) -> None:
    # Colours that are on their way to others have contrasts of their own.
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    is_dark = expect(page.locator("body"))
    (is_dark.to_have_class if scheme == "dark" else is_dark.not_to_have_class)(re.compile(r"\bdark\b"))


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
        show_in(page, "light")
        draw(page)
        expect(page.locator("#create-draw")).to_be_enabled()
        assert violations(page) == []
