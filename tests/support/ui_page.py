"""The page `/ui` in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.support.browser import PATIENCE_MS, Browsed

WATCH = """() => {
    window.seen = false;
    const look = () => { window.seen ||= Boolean(CONDITION); };
    window.watching?.disconnect();
    window.watching = new MutationObserver(look);
    window.watching.observe(document.body, {subtree: true, childList: true});
}"""


@contextmanager
def open_tab(browsed: Browsed, tab: str) -> Iterator[Page]:
    """Load the page and open a tab, once it knows the models.

    Afterwards nothing may have come from elsewhere, and no script may have failed.
    """
    page = browsed.page
    # What a page that is left gives up is no fault of the next one.
    page.goto("about:blank")
    browsed.elsewhere.clear()
    browsed.errors.clear()
    page.goto(f"{browsed.server}/ui")
    # It has a sampler as soon as it knows a model. The first visit starts the page's process.
    expect(page.get_by_label("Sampler").first).not_to_have_value("", timeout=3 * PATIENCE_MS)
    page.get_by_role("tab", name=tab, exact=True).click()
    yield page
    assert browsed.elsewhere == []
    assert browsed.wrong == []


@contextmanager
def true_meanwhile(page: Page, condition: str) -> Iterator[None]:
    """A condition in JavaScript must hold before the block ends, be it for a moment in which nobody looks."""
    page.evaluate(WATCH.replace("CONDITION", condition))
    yield
    assert page.evaluate("window.seen"), condition


def choose(page: Page, model: str) -> None:
    """Choose a model on the tab that is open."""
    page.get_by_label("Model").filter(visible=True).click()
    page.get_by_role("option", name=f"{model} (").click()


def draw(page: Page, prompt: str = "a red apple", steps: int = 2) -> None:
    """Draw an image on the tab Create, and wait for it."""
    start_drawing(page, prompt, steps)
    expect(page.locator("#create-images img").first).to_be_visible()


def start_drawing(page: Page, prompt: str = "a red apple", steps: int = 2) -> None:
    page.get_by_label("Prompt", exact=True).first.fill(prompt)
    page.get_by_label("Steps").first.fill(str(steps))
    page.locator("#create-draw").click()


def open_image(page: Page, file: Path) -> None:
    """Put an image on the canvas of the tab Edit, and take the brush."""
    canvas = page.locator("#edit-canvas")
    expect(canvas.locator("canvas").first).to_be_visible()
    canvas.locator("input[type=file]").first.set_input_files(file)
    expect(canvas.get_by_text("select the draw tool to start")).to_be_hidden()
    canvas.get_by_label("Brush", exact=True).first.click()


def paint(page: Page, left: float, right: float, height: float = 0.5) -> None:
    """Paint a line across that canvas: between two shares of its width, at a share of its height."""
    box = page.locator("#edit-canvas canvas").first.bounding_box()
    assert box is not None
    y = box["y"] + height * box["height"]
    page.mouse.move(box["x"] + left * box["width"], y)
    page.mouse.down()
    page.mouse.move(box["x"] + right * box["width"], y, steps=8)
    page.mouse.up()
