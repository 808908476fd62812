"""Create, on the page `/ui` in a real browser: drawing from a prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.replica import Replica
from tests.support.ui_page import open_tab, ui_browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


@pytest.fixture(scope="module")
def browsed(openai_server: Replica) -> Iterator[Browsed]:
    with ui_browser(openai_server.url) as browser:
        yield browser


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    with open_tab(browsed, "Create") as page:
        page.get_by_label("Prompt", exact=True).first.fill("a red apple")
        yield page


def draw(page: Page, **settings: int) -> None:
    """Press the button, with sliders set by their labels."""
    for label, value in settings.items():
        page.get_by_label(label).first.fill(str(value))
    page.locator("#create-draw").click()


def test_a_preview_is_seen_before_the_image(page: Page) -> None:
    draw(page, Steps=40)
    expect(page.locator("#create-stage img[alt='Preview of image 1']")).to_be_visible()
    expect(page.locator("#create-images")).to_be_hidden()
    expect(page.locator("#create-images img").first).to_be_visible()


def test_what_is_drawn_can_be_cancelled(page: Page) -> None:
    draw(page, Steps=900)
    expect(page.locator("#create-stage progress")).to_be_visible()
    page.locator("#create-cancel").click()
    expect(page.locator("#create-stage")).to_contain_text("Cancelled")
    expect(page.locator("#create-draw")).to_be_enabled()


def test_a_mistake_is_said_under_the_prompt(page: Page) -> None:
    draw(page, Width=128, Height=128)
    expect(page.get_by_role("alert").filter(has_text="width")).to_be_visible()


def test_what_is_drawn_is_written_as_code(page: Page) -> None:
    draw(page, Steps=2)
    expect(page.locator("#create-images img").first).to_be_visible()
    page.get_by_role("button", name="Copy as code").first.click()
    expect(page.locator("#create-code textarea").first).to_have_value(re.compile('"num_inference_steps": 2,'))


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_light_and_dark(scheme: str, page: Page) -> None:
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.set_viewport_size({"width": 390, "height": 844})
    expect(page.locator("#create-draw")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_fetches_nothing_for_anybody(openai_server: Replica) -> None:
    """Gradio would stream whatever lies at an address."""
    answer = httpx.get(f"{openai_server.url}/ui/gradio_api/file=https://example.com/image.png", timeout=60)
    assert answer.status_code in (403, 404), answer.text
