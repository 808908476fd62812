"""Edit, on the page `/ui` in a real browser: a mask that is painted there keeps the rest exactly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import ImageChops
from playwright.sync_api import Page, expect

from client.jubako import Jubako
from client.results import Job
from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.replica import Replica
from tests.support.servers.serving import photo, wait_for
from tests.support.ui_page import choose, open_image, open_tab, paint

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


@pytest.fixture
def page(browsed: Browsed, tmp_path: Path) -> Iterator[Page]:
    """The tab with a photo on its canvas, and the model that inpaints."""
    photo().save(tmp_path / "photo.png")
    with open_tab(browsed, "Edit") as page:
        choose(page, "tiny")
        open_image(page, tmp_path / "photo.png")
        yield page


def draw(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).filter(visible=True).fill("a red apple")
    page.locator("#edit-draw").click()


def paint_and_draw(page: Page) -> None:
    """Paint until it has been noticed: the canvas is there before it takes strokes."""
    nothing, drawn = page.get_by_text("Paint over what is to change"), page.locator("#edit-compared img").first
    for _ in range(10):
        paint(page, 0.4, 0.6)
        draw(page)
        expect(nothing.or_(drawn).first).to_be_visible()
        if not nothing.is_visible():
            return


def draw_until_it_is_noticed(page: Page, jubako: Jubako, last: Job) -> Job:
    """Draw, and return the job after `last`: the canvas is there before it has its image and mask."""
    said = page.get_by_role("alert").filter(visible=True)

    def noticed() -> bool:
        return jubako.jobs(limit=1)[0].id != last.id or said.count() > 0

    for _ in range(10):
        page.locator("#edit-draw").click()
        wait_for(noticed)
        newest = jubako.jobs(limit=1)[0]
        if newest.id != last.id:
            wait_for(lambda: jubako.jobs(limit=1)[0].ended)
            return jubako.jobs(limit=1)[0]
    raise AssertionError(said.all_inner_texts())


def test_what_is_not_painted_over_is_kept_exactly(page: Page, openai_server: Replica) -> None:
    paint_and_draw(page)
    expect(page.locator("#edit-compared img").first).to_be_visible()
    with Jubako(openai_server.url) as jubako:
        newest = jubako.jobs(limit=1)[0]
        drawn = jubako.results(newest)[0].pillow.convert("RGB")  # type: ignore[union-attr]
    assert newest.task == "inpaint"
    changed = ImageChops.difference(drawn, photo().convert("RGB")).convert("L").getbbox()
    assert changed is not None, "the painted part is drawn again"
    assert drawn.size == photo().size
    assert 0 < changed[1] < changed[3] < drawn.height, "the line does not reach the upper or lower edge"


def test_what_was_repainted_is_repainted_again(page: Page, openai_server: Replica) -> None:
    paint_and_draw(page)
    expect(page.locator("#edit-compared img").first).to_be_visible()
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#gallery img").first.click()
    expect(page.locator("#about")).to_contain_text("inpaint")
    page.get_by_role("button", name="Use again").click()
    with Jubako(openai_server.url) as jubako:
        first = jubako.jobs(limit=1)[0]
        again = draw_until_it_is_noticed(page, jubako, first)
        assert again.task == "inpaint"
        results = [jubako.results(job)[0].pillow for job in (first, again)]  # type: ignore[union-attr]
    assert results[0].tobytes() == results[1].tobytes()


def test_without_a_mask_there_is_nothing_to_repaint(page: Page) -> None:
    draw(page)
    expect(page.get_by_role("alert").filter(has_text="Paint over what is to change")).to_be_visible()
