"""The page `/ui` of a server with keys, in real browsers."""

from __future__ import annotations

from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Page, expect

from client.jubako import Jubako
from tests.support.browser import CHROMIUM, browsing
from tests.support.replica import Replica, replica
from tests.support.serving import write_tiny_catalogue
from tests.support.ui_page import PATIENCE_MS

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

ALICE, BOB, WRONG = "alices-key-for-this-test", "bobs-key-for-this-test", "nobodys-key-for-this-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("keyed"))
    with replica(catalogue, JUBAKO_API_KEYS=f"alice:{ALICE},bob:{BOB}") as running:
        assert page_processes(running) == [], "nobody has opened it yet"
        yield running
        opened = page_processes(running)
    assert not any(process.is_running() for process in opened), "it ends with the server"


def page_processes(server: Replica) -> list[psutil.Process]:
    children = psutil.Process(server.pid).children(recursive=True)
    return [each for each in children if each.cmdline()[1:3] == ["-m", "ui"]]


@pytest.fixture
def page(server: Replica) -> Iterator[Page]:
    with browsing(server.url) as browsed:
        browsed.page.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        browsed.page.goto(f"{server.url}/ui/")
        yield browsed.page


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("Your key").fill(key)
    page.get_by_role("button", name="Open").click()


def test_a_wrong_key_opens_nothing(page: Page) -> None:
    sign_in(page, WRONG)
    expect(page.get_by_role("alert")).to_contain_text("This key is wrong")
    expect(page.locator("#create-draw")).to_have_count(0)


def test_what_one_draws_is_theirs_alone(page: Page, server: Replica) -> None:
    sign_in(page, ALICE)
    expect(page.get_by_label("Sampler").first).not_to_have_value("")
    page.get_by_label("Prompt", exact=True).first.fill("a red apple")
    page.get_by_label("Steps").first.fill("2")
    page.locator("#create-draw").click()
    expect(page.locator("#create-images img").first).to_be_visible()
    with Jubako(server.url, ALICE) as alice, Jubako(server.url, BOB) as bob:
        assert [job.status for job in alice.jobs()] == ["completed"]
        assert bob.jobs() == []
    assert page.context.cookies()[0]["httpOnly"]
    assert page.evaluate("fetch('/models').then(answer => answer.status)") == 401, "elsewhere the cookie is no key"


def test_its_process_is_told_no_key(page: Page, server: Replica) -> None:
    sign_in(page, ALICE)
    expect(page.locator("#create-draw")).to_be_visible()
    (process,) = page_processes(server)
    assert not any(key in text for key in (ALICE, BOB) for text in process.environ().values())
