"""The gallery of the page `/ui` in a real browser: what was drawn, how, and again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.replica import Replica
from tests.support.ui_page import draw, open_tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

SEED = 20_261_129
PROMPT = "a purple apple"


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    with open_tab(browsed, "Create") as page:
        yield page


@pytest.fixture
def image(openai_server: Replica, tmp_path: Path) -> Path:
    """An image that was drawn by itself, not as a job."""
    request = {"prompt": PROMPT, "seed": SEED, "num_inference_steps": 3, "model": "tiny"}
    answer = httpx.post(f"{openai_server.url}/text_to_image", json=request, timeout=60).raise_for_status()
    file = tmp_path / "apple.png"
    file.write_bytes(answer.content)
    return file


def test_what_was_drawn_is_there_and_can_be_deleted(page: Page) -> None:
    page.get_by_label("Images").first.fill("2")
    draw(page, PROMPT)
    page.get_by_role("tab", name="Gallery").click()
    newest = page.locator("#gallery img").first
    newest.click()
    expect(page.locator("#about")).to_contain_text(PROMPT)
    address = newest.get_attribute("src")
    delete = page.get_by_role("button", name="Delete", exact=True)
    delete.click()
    expect(page.locator("#deleting")).to_contain_text("one of 2")
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.locator("#deleting")).to_be_hidden()
    expect(page.locator(f"#gallery img[src='{address}']")).to_have_count(1)
    delete.click()
    page.get_by_role("button", name="Delete all 2").click()
    expect(page.locator("#about")).to_contain_text("Choose an image")
    expect(page.locator(f"#gallery img[src='{address}']")).to_have_count(0)


def test_a_dropped_image_says_how_it_was_drawn_and_is_drawn_again(page: Page, image: Path) -> None:
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#dropped input[type=file]").set_input_files(image)
    expect(page.locator("#about")).to_contain_text(str(SEED))
    expect(page.get_by_role("button", name="Delete", exact=True)).to_be_disabled()
    page.get_by_role("button", name="Use again").click()
    expect(page.get_by_label("Prompt", exact=True).first).to_have_value(PROMPT)
    expect(page.get_by_label("Seed", exact=True).first).to_have_value(str(SEED))
    expect(page.get_by_label("Keep it").first).to_be_checked()
    expect(page.get_by_label("Steps").first).to_have_value("3")


def test_a_file_that_says_nothing_is_no_error(page: Page, tmp_path: Path) -> None:
    (tmp_path / "else.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    page.get_by_role("tab", name="Gallery").click()
    page.locator("#dropped input[type=file]").set_input_files(tmp_path / "else.png")
    expect(page.locator("#about")).to_contain_text("does not say how it was drawn")
    expect(page.get_by_role("button", name="Use again")).to_be_disabled()
