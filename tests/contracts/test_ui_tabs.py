"""The tabs Video, Storyboard, and Jobs and models of the page `/ui`, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.ui_page import open_tab, start_drawing

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    with open_tab(browsed, "Create") as page:
        yield page


def panel(page: Page, has: str) -> Locator:
    """The tab that has an element."""
    return page.get_by_role("tabpanel").filter(has=page.locator(has))


def test_a_video_is_drawn_and_shown(page: Page) -> None:
    page.get_by_role("tab", name="Video").click()
    tab = panel(page, "#video-draw")
    tab.get_by_label("Prompt", exact=True).fill("a red apple")
    tab.locator("#video-draw").click()
    expect(tab.locator("#video-clip video")).to_be_visible()
    expect(tab.locator("#video-stage")).to_contain_text("Drawn in")


def test_frames_of_a_story_appear_and_can_be_kept(page: Page) -> None:
    page.get_by_role("tab", name="Storyboard").click()
    tab = panel(page, "#story-draw")
    tab.get_by_label("Model").click()
    page.get_by_role("option", name="miniature").click()
    tab.get_by_role("button", name="Use an example").click()
    tab.get_by_text("Plan", exact=True).click()
    tab.get_by_role("button", name="Plan it").click()
    cell = tab.locator("#story-scenes").get_by_role("gridcell").first
    expect(cell).not_to_have_text("")
    cell.dblclick()
    page.keyboard.press("Control+a")
    page.keyboard.type("An apple")
    page.keyboard.press("Enter")
    tab.locator("#story-draw").click()
    expect(tab.locator(".story figcaption").first).to_have_text("1. An apple")
    expect(tab.locator(".story img").first).to_be_visible()
    expect(tab.locator("#story-frames img").first).to_be_visible()
    for name in ("story.zip", "story.pdf"):
        expect(tab.locator("#story-files")).to_contain_text(name.partition(".")[0])
    before = tab.locator("#story-frames img").first.get_attribute("src")
    tab.locator("#story-frames img").first.click()
    tab.get_by_role("button", name="Draw frame 1 again").click()
    expect(tab.locator("#story-frames img").first).not_to_have_attribute("src", before or "")


def test_a_waiting_job_is_seen_and_cancelled(page: Page) -> None:
    start_drawing(page, steps=900)
    expect(page.locator("#create-stage progress")).to_be_visible()
    page.get_by_role("tab", name="Jobs and models").click()
    tab = panel(page, "#jobs")
    tab.get_by_role("gridcell", name="processing").first.click()
    tab.get_by_role("button", name="Cancel").click()
    expect(tab.get_by_text("Cancelled.")).to_be_visible()
    expect(tab.locator("#models")).to_contain_text("ready")
