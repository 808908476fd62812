"""`python -m tools.pictures.ui_page` draws on the page `/ui` and writes pictures of it into docs/pictures/."""

from __future__ import annotations

import tempfile
from io import BytesIO
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from client.jubako import Jubako
from tests.support.browser import browsing
from tests.support.servers.replica import replica
from tests.support.servers.serving import ROOT
from tests.support.ui_page import open_image, open_tab, paint

WIDTH_PX, HEIGHT_PX = 1280, 800
PHONE_PX = 390, 844
EXAMPLE = "a fox on a green background"
EDITED = "a panda on a green background"
QUALITY = 85
"""Of the JPEG files."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        # Only models that every server has.
        plain = {"JUBAKO_MODELS": "miniature", "JUBAKO_CATALOGUE": ""}
        with replica(Path(folder, "none"), **plain) as server, browsing(server.url) as browsed:
            browsed.page.set_viewport_size({"width": WIDTH_PX, "height": HEIGHT_PX})
            with open_tab(browsed, "Create") as page:
                _draw_example(page)
                keep(page, "page-create")
            with Jubako(server.url) as jubako, open_tab(browsed, "Edit") as page:
                fox = jubako.results(jubako.jobs()[0])[0].save(Path(folder, "fox.png"))
                _edit(page, fox)
                keep(page, "page-edit")
            browsed.page.emulate_media(color_scheme="dark")
            browsed.page.set_viewport_size({"width": PHONE_PX[0], "height": PHONE_PX[1]})
            with open_tab(browsed, "Create") as page:
                _draw_example(page)
                keep(page, "page-phone")


def _draw_example(page: Page) -> None:
    page.get_by_role("button", name=EXAMPLE).click()
    expect(page.locator("#create-images img").first).to_be_visible()
    expect(page.locator("#create-draw")).to_be_enabled()


def _edit(page: Page, file: Path) -> None:
    """Have an image's subject repainted and its border kept."""
    open_image(page, file)
    for height in (0.28, 0.42, 0.57, 0.7):
        paint(page, 0.36, 0.61, height)
    page.get_by_label("Prompt", exact=True).filter(visible=True).fill(EDITED)
    page.locator("#edit-draw").click()
    expect(page.locator("#edit-compared img").first).to_be_visible()
    expect(page.locator("#edit-draw")).to_be_enabled()


def keep(page: Page, name: str) -> None:
    """Write what the page shows as docs/pictures/NAME.jpg."""
    page.evaluate("window.scrollTo(0, 0)")
    page.mouse.move(0, 0)
    picture = Image.open(BytesIO(page.screenshot(animations="disabled"))).convert("RGB")
    picture.save(ROOT / "docs" / "pictures" / f"{name}.jpg", quality=QUALITY, optimize=True)


if __name__ == "__main__":
    main()
