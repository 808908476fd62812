"""The page `/ui` in a real browser: drawing from a prompt."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Browsed, browsing
from tests.support.replica import Replica

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

PATIENCE_MS = 60_000.0


@pytest.fixture(scope="module")
def browsed(openai_server: Replica) -> Iterator[Browsed]:
    with browsing(openai_server.url) as opened:
        opened.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield opened


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    """The page, freshly opened; afterwards nothing must have come from elsewhere, and no script have failed."""
    browsed.page.goto(f"{browsed.server}/ui")
    expect(browsed.page.get_by_label("Sampler").first).to_have_value("ddim")
    yield browsed.page
    assert browsed.elsewhere == []
    assert browsed.errors == []


def test_a_preview_is_seen_before_the_image(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).fill("a red apple")
    page.get_by_label("Steps").first.fill("40")
    page.locator("#create-draw").click()
    expect(page.locator("#create-stage img[alt='Preview of image 1']")).to_be_visible()
    expect(page.locator("#create-images")).to_be_hidden()
    expect(page.locator("#create-images img").first).to_be_visible()


def test_what_is_drawn_can_be_cancelled(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).fill("a red apple")
    page.get_by_label("Steps").first.fill("900")
    page.locator("#create-draw").click()
    expect(page.locator("#create-stage progress")).to_be_visible()
    page.locator("#create-cancel").click()
    expect(page.locator("#create-stage")).to_contain_text("Cancelled")
    expect(page.locator("#create-draw")).to_be_enabled()


def test_unknown_words_are_hinted_at_and_mistakes_are_said(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).fill("a red zeppelin")
    page.get_by_label("Width").first.fill("128")
    page.get_by_label("Height").first.fill("128")
    page.locator("#create-draw").click()
    expect(page.get_by_role("alert").filter(has_text="width")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(scheme: str, page: Page) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#create-draw")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})
