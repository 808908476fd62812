"""`python -m tests.support.page_pictures` draws on the page `/ui` and writes pictures of it into docs/."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from client.jubako import Jubako
from tests.support.replica import replica
from tests.support.serving import ROOT
from tests.support.ui_page import open_tab, ui_browser

WIDTH_PX, HEIGHT_PX = 1280, 860
PHONE_PX = 390, 844
PAINTED_PX = 40
"""To either side of the middle."""
QUALITY = 85
"""Of the JPEG files."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        (catalogue := Path(folder, "catalogue.yaml")).write_text("{}")
        with replica(catalogue, JUBAKO_MODELS="miniature") as server, ui_browser(server.url) as browsed:
            browsed.page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
            with open_tab(browsed, "Create") as page:
                _draw(page)
                _keep(page, "page-create")
            with Jubako(server.url) as jubako, open_tab(browsed, "Edit") as page:
                fox = jubako.results(jubako.jobs()[0])[0].save(Path(folder, "fox.png"))
                _edit(page, fox)
                _keep(page, "page-edit")
            browsed.page.emulate_media(color_scheme="dark")
            browsed.page.set_viewport_size({"width": PHONE_PX[0], "height": PHONE_PX[1]})
            with open_tab(browsed, "Create") as page:
                _draw(page)
                _keep(page, "page-phone")


def _draw(page: Page) -> None:
    page.get_by_role("button", name="a fox on a green background").click()
    expect(page.locator("#create-images img").first).to_be_visible()
    expect(page.locator("#create-draw")).to_be_enabled()


def _edit(page: Page, file: Path) -> None:
    """Have the background of an image repainted, above what it shows."""
    page.locator("#edit-canvas input[type=file]").first.set_input_files(file)
    canvas = page.locator("#edit-canvas canvas").first
    expect(canvas).to_be_visible()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - PAINTED_PX, y)
    page.mouse.down()
    page.mouse.move(x + PAINTED_PX, y, steps=10)
    page.mouse.up()
    page.get_by_label("Prompt", exact=True).filter(visible=True).fill("a red apple on a green background")
    page.locator("#edit-draw").click()
    expect(page.locator("#edit-compared img").first).to_be_visible()


def _keep(page: Page, name: str) -> None:
    """Write what is seen as docs/NAME.jpg."""
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    picture = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.save(ROOT / "docs" / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
