"""A real browser: Debian's Chromium, which tools/need-chromium installs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
LOCAL = ("data:", "blob:")
"""Addresses of what a page has made itself."""
UPLOAD_PROGRESS = "/upload_progress?"
ICON = "/favicon.ico"
ALONE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"
"""A machine without internet, also where there is one. Playwright's routes would do, but turn off the browser's cache:
each visit to the page would then read and compile all of Gradio's scripts again.
"""
PATIENCE_MS = 90_000.0
"""For pages and images, on a machine that is busy."""


@dataclass
class Browsed:
    """A page, and what went wrong on it: errors of its scripts, and requests to other servers than `server`."""

    page: Page
    server: str
    elsewhere: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    _progress_missed: bool = False

    def watch(self) -> None:
        self.page.on("request", self._requested)
        self.page.on("pageerror", self._failed)
        self.page.on("console", self._said)

    def _failed(self, error: Exception) -> None:
        # A page that is left gives up what it was asking for.
        if not str(error).startswith("AbortError"):
            self.errors.append(str(error))

    def _said(self, message: ConsoleMessage) -> None:
        # Gradio asks for the progress of an upload that it has refused, too, and throws the answer.
        if UPLOAD_PROGRESS in message.location["url"]:
            self._progress_missed = True
        # Browsers ask for it by themselves.
        elif message.location["url"].endswith(ICON):
            pass
        elif message.type == "error":
            self.errors.append(message.text)

    @property
    def wrong(self) -> list[str]:
        """What went wrong on the page, in either way."""
        thrown = {"Response"} if self._progress_missed else set()
        return [error for error in self.errors if error not in thrown]

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.server, *LOCAL)):
            self.elsewhere.append(request.url)


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start it."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox does not work for root in a container.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", ALONE])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, server: str) -> Iterator[Browsed]:
    """Open an empty page that must reach nothing but `server`; it shares no cookies with others of that browser."""
    with browser.new_context() as context:
        browsed = Browsed(context.new_page(), server)
        browsed.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        browsed.watch()
        yield browsed


@contextmanager
def browsing(server: str) -> Iterator[Browsed]:
    """Open such a page in a browser of its own."""
    with chromium() as browser, visiting(browser, server) as browsed:
        yield browsed
