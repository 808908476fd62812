"""The page `/ui` in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Page, expect

from tests.support.browser import Browsed, browsing

PATIENCE_MS = 60_000.0
"""For pages and images, on a machine that is busy."""


@contextmanager
def ui_browser(server: str) -> Iterator[Browsed]:
    """Open a browser that waits long enough; the page is opened by `open_tab`."""
    with browsing(server) as browsed:
        browsed.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        yield browsed


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
    # It has a sampler as soon as it knows a model.
    expect(page.get_by_label("Sampler").first).not_to_have_value("")
    page.get_by_role("tab", name=tab, exact=True).click()
    yield page
    assert browsed.elsewhere == []
    assert browsed.errors == []
