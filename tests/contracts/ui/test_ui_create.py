"""Create, on the page `/ui` in a real browser: drawing from a prompt."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import Page, Route, expect

from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.replica import Replica
from tests.support.ui_page import choose, draw, open_tab, start_drawing, true_meanwhile

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")


PREVIEWED = """
    document.querySelector("#create-stage img[alt='Preview of image 1']") &&
    !document.querySelector("#create-images img")
"""


@pytest.fixture
def page(browsed: Browsed) -> Iterator[Page]:
    with open_tab(browsed, "Create") as page:
        yield page


def test_a_preview_is_seen_before_the_image(page: Page) -> None:
    with true_meanwhile(page, PREVIEWED):
        start_drawing(page, steps=200)
        expect(page.locator("#create-images img").first).to_be_visible()


def test_what_is_drawn_can_be_cancelled(page: Page) -> None:
    start_drawing(page, steps=900)
    expect(page.locator("#create-stage progress")).to_be_visible()
    page.locator("#create-cancel").click()
    expect(page.locator("#create-stage")).to_contain_text("Cancelled")
    expect(page.locator("#create-draw")).to_be_enabled()


def test_an_image_is_upscaled_and_what_upscaled_it_is_said(page: Page) -> None:
    page.get_by_label("Size of the result").first.click()
    page.get_by_role("option", name="2 times as large").click()
    draw(page)
    expect(page.locator(".hints").filter(visible=True)).to_contain_text("Lanczos")
    image = page.locator("#create-images img").first
    width = int(page.get_by_label("Width").first.input_value())
    assert image.evaluate("image => image.decode().then(() => image.naturalWidth)") == 2 * width


def test_a_mistake_is_said_under_the_prompt(page: Page) -> None:
    page.get_by_label("Width").first.fill("128")
    page.get_by_label("Height").first.fill("128")
    start_drawing(page)
    expect(page.get_by_role("alert").filter(has_text="width")).to_be_visible()


def test_a_word_that_the_model_does_not_know_is_said_there_too(page: Page) -> None:
    choose(page, "miniature")
    expect(page.get_by_label("Width").first).to_have_value("128")
    draw(page, "a red zeppelin")
    expect(page.locator(".hints").first).to_contain_text("zeppelin")


def test_what_was_chosen_for_another_model_is_the_apis_to_refuse(page: Page) -> None:
    """As when "Draw" is pressed before the browser has the choices of the model that was just chosen."""

    def send_what_was_shown_before(route: Route) -> None:
        sent = json.loads(route.request.post_data or "")
        sent["data"] = ["of-another-model" if each == sampler else each for each in sent["data"]]
        route.continue_(post_data=json.dumps(sent))

    sampler = page.get_by_label("Sampler").first.input_value()
    page.route("**/queue/join*", send_what_was_shown_before)
    start_drawing(page)
    expect(page.get_by_role("alert").filter(has_text="scheduler")).to_be_visible()
    page.unroute_all()


def test_the_keyboard_alone_draws(page: Page) -> None:
    page.get_by_label("Steps").first.fill("2")
    page.get_by_label("Prompt", exact=True).first.focus()
    page.keyboard.type("a red apple")
    page.keyboard.press("Tab")
    expect(page.locator("#create-draw")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#create-images img").first).to_be_visible()


def test_what_is_drawn_is_written_as_code(page: Page) -> None:
    draw(page)
    page.get_by_role("button", name="Copy as code").first.click()
    expect(page.locator("#create-code textarea").first).to_have_value(re.compile('"num_inference_steps": 2,'))


def test_every_tab_fits_a_phone_in_light_and_dark(page: Page) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    tabs = page.get_by_role("tab").filter(visible=True)
    expect(tabs).to_have_count(6)
    for tab in tabs.all():
        tab.click()
        expect(page.get_by_role("tabpanel").filter(visible=True)).to_have_count(1)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function("document.documentElement.scrollWidth <= 390")
    page.set_viewport_size({"width": 1280, "height": 900})


def test_the_page_fetches_nothing_for_anybody(openai_server: Replica) -> None:
    """Gradio would stream whatever lies at an address."""
    answer = httpx.get(f"{openai_server.url}/ui/gradio_api/file=https://example.com/image.png", timeout=60)
    assert answer.status_code in (403, 404), answer.text
