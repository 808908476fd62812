"""The page `/ui` of a server with keys, in real browsers."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import psutil
import pytest
from playwright.sync_api import Browser, Page, expect

from client.jubako import Jubako
from tests.support.browser import CHROMIUM, PATIENCE_MS, chromium, visiting
from tests.support.servers.process_tree import started_by
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import wait_for, write_tiny_catalogue
from tests.support.ui_page import draw, start_drawing
from tests.support.web import WEB

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

ALICE, BOB, WRONG = "alices-key-for-this-test", "bobs-key-for-this-test", "nobodys-key-for-this-test"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("keyed"))
    with replica(catalogue, JUBAKO_API_KEYS=f"alice:{ALICE},bob:{BOB}") as running:
        assert page_processes(running) == [], "nobody has opened it yet"
        yield running
        opened = page_processes(running)
    _, alive = psutil.wait_procs(opened, timeout=60)
    assert alive == [], "it ends with the server"


def page_processes(server: Replica) -> list[psutil.Process]:
    return started_by(server.pid, lambda command: command[1:3] == ["-m", "ui"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(browser: Browser, server: Replica) -> Iterator[Page]:
    with visiting(browser, server.url) as visitor:
        visitor.page.goto(f"{server.url}/ui/")
        yield visitor.page


@pytest.fixture
def other_page(browser: Browser, server: Replica) -> Iterator[Page]:
    """Of somebody else's browser."""
    with visiting(browser, server.url) as visitor:
        visitor.page.goto(f"{server.url}/ui/")
        yield visitor.page


def sign_in(page: Page, key: str) -> None:
    expect(page.get_by_label("Your key")).to_be_visible(timeout=3 * PATIENCE_MS)
    page.get_by_label("Your key").fill(key)
    page.get_by_role("button", name="Open").click()


def open_as(page: Page, key: str) -> None:
    """Sign in, and wait until the page knows the models."""
    sign_in(page, key)
    # The first visit starts the page's process.
    expect(page.get_by_label("Sampler").first).not_to_have_value("", timeout=3 * PATIENCE_MS)


def open_gallery(page: Page, count: int) -> list[str]:
    """Return the addresses of its images, of which there must be so many."""
    page.get_by_role("tab", name="Gallery").click()
    images = page.locator("#gallery img")
    expect(images).to_have_count(count)
    return [image.get_attribute("src") or "" for image in images.all()]


def status_of(page: Page, address: str) -> int:
    """Ask for an address as the page would, with its cookie."""
    answer: int = page.evaluate("address => fetch(address).then(answer => answer.status)", address)
    return answer


def seeds_of(addresses: list[str]) -> list[int]:
    """Return the seeds of images by their names, as the page gives them."""
    return [int(address.rpartition("-")[2].removesuffix(".png")) for address in addresses]


def test_a_wrong_key_opens_nothing(page: Page) -> None:
    sign_in(page, WRONG)
    expect(page.get_by_role("alert")).to_contain_text("This key is wrong")
    expect(page.locator("#create-draw")).to_have_count(0)


def test_the_cookie_is_no_key_elsewhere(page: Page) -> None:
    open_as(page, ALICE)
    assert page.context.cookies()[0]["httpOnly"]
    assert status_of(page, "/models") == 401
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Your key")).to_be_visible()
    assert page.context.cookies() == []


def test_the_page_sleeps_while_nobody_uses_it(page: Page, server: Replica) -> None:
    open_as(page, ALICE)
    page.goto("about:blank")
    (process,) = page_processes(server)
    # Gradio by itself would wake up 900 times a second. Answers to the visit may still be on their way.
    wait_for(lambda: wakings_in_a_second(process) < 200)


def wakings_in_a_second(process: psutil.Process) -> int:
    before: int = process.num_ctx_switches().voluntary
    time.sleep(1)
    after: int = process.num_ctx_switches().voluntary
    return after - before


def test_two_who_draw_at_once_see_nothing_of_each_other(page: Page, other_page: Page, server: Replica) -> None:
    pages = {ALICE: page, BOB: other_page}
    for key, own in pages.items():
        open_as(own, key)
    for own in pages.values():
        start_drawing(own)
    for own in pages.values():
        expect(own.locator("#create-images img").first).to_be_visible()
    with Jubako(server.url, ALICE) as alice, Jubako(server.url, BOB) as bob:
        jobs = {ALICE: alice.jobs(), BOB: bob.jobs()}
    assert {job.id for job in jobs[ALICE]}.isdisjoint(job.id for job in jobs[BOB])
    shown = {key: open_gallery(own, len(jobs[key])) for key, own in pages.items()}
    for key, addresses in shown.items():
        assert seeds_of(addresses) == [result["seed"] for job in jobs[key] for result in job.results]
    for key, own in pages.items():
        own.get_by_role("tab", name="Jobs and models").click()
        for owner, theirs in jobs.items():
            expect(own.get_by_role("gridcell", name=theirs[0].id)).to_have_count(int(owner == key))


def test_no_guess_leads_to_what_others_drew(page: Page, other_page: Page, server: Replica) -> None:
    open_as(page, ALICE)
    draw(page)
    with Jubako(server.url, ALICE) as alice:
        job = alice.jobs(limit=1)[0]
    address = page.locator("#create-images img").first.get_attribute("src") or ""
    folder = re.search("drawing-([0-9a-f]+)", address)
    assert folder is not None
    assert len(folder[1]) == 32, "as many digits as nobody tries"
    assert status_of(page, address) == 200
    assert WEB.get(address).status_code == 401, "without a key, none of the page's addresses lead anywhere"
    open_as(other_page, BOB)
    assert status_of(other_page, address.replace(folder[1], "0" * 32)) in (403, 404)
    assert status_of(other_page, address[: address.index(folder[0])]) in (403, 404), "folders are not listed"
    asked = {"Authorization": f"Bearer {BOB}"}
    assert WEB.get(f"{server.url}/api/{job.id}/status", headers=asked).status_code == 404
    file = job.results[0]["url"].partition("?")[0]
    assert WEB.get(file, headers=asked).status_code in (401, 403, 404), "it wants its token"


def test_its_process_is_told_no_key(page: Page, server: Replica) -> None:
    open_as(page, ALICE)
    (process,) = page_processes(server)
    assert not any(key in text for key in (ALICE, BOB) for text in process.environ().values())


def test_the_gallery_is_there_after_a_restart(page: Page, server: Replica) -> None:
    open_as(page, BOB)
    draw(page, "an apple on blue")
    with Jubako(server.url, BOB) as bob:
        jobs = bob.jobs()
    before = open_gallery(page, len(jobs))
    server.stop()
    server.start()
    # The cookie is still there, and the process of the page is another one, with no files yet.
    page.reload()
    expect(page.get_by_label("Sampler").first).not_to_have_value("", timeout=3 * PATIENCE_MS)
    after = open_gallery(page, len(jobs))
    assert seeds_of(after) == seeds_of(before)
    assert set(after).isdisjoint(before)
    page.locator("#gallery img").first.click()
    expect(page.locator("#about")).to_contain_text("an apple on blue")
