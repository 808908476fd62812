"""Edit, on the page `/ui` in a real browser: a mask that is painted there keeps the rest exactly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
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

SEEN_S = 5.0
"""After so long, what is said is said of the last click."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


@pytest.fixture
def page(browsed: Browsed, tmp_path: Path) -> Iterator[Page]:
    """The tab with a photo on its canvas, and the model that inpaints."""
    photo().save(tmp_path / "photo.png")
    with open_tab(browsed, "Edit") as page:
        choose(page, "tiny")
        expect(page.get_by_label("Repaint what I paint over")).to_be_checked()
        open_image(page, tmp_path / "photo.png")
        yield page


def draw(page: Page) -> None:
    page.get_by_label("Prompt", exact=True).filter(visible=True).fill("a red apple")
    page.locator("#edit-draw").click()


def drawn(page: Page, jubako: Jubako, act: Callable[[], None]) -> Job:
    """Do what ends with "Draw"; return its job when it has ended.

    The canvas is there before it takes strokes, and before it has an image and a mask that it is given: what comes too
    early is refused, and is done again.
    """
    last = newest(jubako)
    said = page.get_by_role("alert").filter(visible=True)

    def is_seen(by_s: float) -> bool:
        # What an earlier try came to is still there until the server has seen the next one.
        return newest(jubako) != last or (said.count() > 0 and time.monotonic() > by_s)

    for _ in range(10):
        act()
        wait_for(partial(is_seen, time.monotonic() + SEEN_S))
        if newest(jubako) != last:
            break
    job_id = newest(jubako)
    assert job_id is not None
    assert job_id != last, said.all_inner_texts()
    wait_for(lambda: jubako.job(job_id).ended)
    return jubako.job(job_id)


def newest(jubako: Jubako) -> str | None:
    return next((job.id for job in jubako.jobs(limit=1)), None)


def paint_and_draw(page: Page, jubako: Jubako) -> Job:
    def act() -> None:
        paint(page, 0.4, 0.6)
        draw(page)

    return drawn(page, jubako, act)


def test_what_is_not_painted_over_is_kept_exactly(page: Page, openai_server: Replica) -> None:
    with Jubako(openai_server.url) as jubako:
        job = paint_and_draw(page, jubako)
        image = jubako.results(job)[0].pillow.convert("RGB")  # type: ignore[union-attr]
    expect(page.locator("#edit-compared img").first).to_be_visible()
    assert job.task == "inpaint"
    changed = ImageChops.difference(image, photo().convert("RGB")).convert("L").getbbox()
    assert changed is not None, "the painted part is drawn again"
    assert image.size == photo().size
    assert 0 < changed[1] < changed[3] < image.height, "the line does not reach the upper or lower edge"


def test_what_was_repainted_is_repainted_again(page: Page, openai_server: Replica) -> None:
    with Jubako(openai_server.url) as jubako:
        first = paint_and_draw(page, jubako)
        expect(page.locator("#edit-compared img").first).to_be_visible()
        page.get_by_role("tab", name="Gallery").click()
        page.locator("#gallery img").first.click()
        expect(page.locator("#about")).to_contain_text("inpaint")
        page.get_by_role("button", name="Use again").click()
        again = drawn(page, jubako, page.locator("#edit-draw").click)
        assert again.task == "inpaint"
        results = [jubako.results(job)[0].pillow for job in (first, again)]  # type: ignore[union-attr]
    assert results[0].tobytes() == results[1].tobytes()


def test_without_a_mask_there_is_nothing_to_repaint(page: Page) -> None:
    draw(page)
    expect(page.get_by_role("alert").filter(has_text="Paint over what is to change")).to_be_visible()
