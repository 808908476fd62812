"""The pages as a newcomer finds them, in a real browser that reaches nothing but the server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from core.version import VERSION
from tests.support.browser import CHROMIUM, Browsed
from tests.support.servers.openai_server import MODELS
from tests.support.servers.serving import half_mask, photo

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

APIS = (
    "text_to_image",
    "image_to_image",
    "upscale",
    "inpaint",
    "edit",
    "text_to_video",
    "image_to_video",
    "stream",
    "storyboard",
)
DESCRIPTION = "**/openapi.json"
PREFIXES = ("", "/openai", "/generator", "/text2image", "/inpainting", "/storyboard")


@pytest.fixture(autouse=True)
def undisturbed(browsed: Browsed) -> Iterator[None]:
    # What a page that is left gives up is no fault of the next one.
    browsed.page.goto("about:blank")
    browsed.elsewhere.clear()
    browsed.errors.clear()
    yield
    assert browsed.elsewhere == []
    assert browsed.errors == []


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What is uploaded, by the names of fields."""
    folder = tmp_path_factory.mktemp("uploads")
    photo().save(folder / "photo.png")
    half_mask().save(folder / "mask.png")
    return {"image": folder / "photo.png", "images": folder / "photo.png", "mask": folder / "mask.png"}


@contextmanager
def docs_of(api: str, browsed: Browsed) -> Iterator[Page]:
    """Open the page of one typed API and its schemas: with others on it, it and its first click take seconds."""
    browsed.page.route(DESCRIPTION, partial(with_one, f"/{api}"))
    try:
        browsed.page.goto(f"{browsed.server}/docs")
        yield browsed.page
    finally:
        browsed.page.unroute(DESCRIPTION)


def with_one(path: str, route: Route) -> None:
    answer = route.fetch()
    described = answer.json()
    described["paths"] = {path: described["paths"][path]}
    schemas = described["components"].pop("schemas")
    described["components"]["schemas"] = {name: schemas[name] for name in reached(schemas, described)}
    route.fulfill(response=answer, json=described)


def reached(schemas: dict[str, Any], described: dict[str, Any]) -> set[str]:
    """The schemas to which what is described refers, and those to which these do."""
    names: set[str] = set()
    waiting = [described]
    while waiting:
        new = set(re.findall('"#/components/schemas/([^"]+)"', json.dumps(waiting.pop()))) - names
        names |= new
        waiting += [schemas[name] for name in new]
    return names


@pytest.mark.parametrize("api", APIS)
def test_each_typed_api_can_be_tried_out_with_its_example(api: str, browsed: Browsed, files: dict[str, Path]) -> None:
    with docs_of(api, browsed) as page:
        operation = opened(page, api)
        for field, file in files.items():
            upload(operation, field, file)
        operation.locator(".execute").click()
        status = operation.locator(".live-responses-table tbody .response-col_status").first
        expect(status).to_be_visible()
        assert status.inner_text().split()[0] == "200", operation.locator(".live-responses-table").inner_text()


def opened(page: Page, api: str) -> Locator:
    """Open an operation on the page, ready to be tried."""
    operation = page.locator(f"#operations-Images_and_videos-{api}")
    operation.locator(".opblock-summary-control").click()
    operation.locator(".try-out__btn").click()
    # What its body is described by comes later than the rest.
    body = operation.locator(".opblock-section-request-body").locator("tr.parameters, textarea")
    expect(body.first).to_be_visible()
    return operation


def upload(operation: Locator, field: str, file: Path) -> None:
    """Choose a file in the row of a form's field, where one is needed."""
    needed = operation.locator(f".parameters[data-property-name={field}]:has(.parameter__name.required)")
    for row in needed.all():
        row.locator("input[type=file]").set_input_files(file)


def test_keys_have_their_button(browsed: Browsed) -> None:
    with docs_of("upscale", browsed) as page:
        expect(page.locator(".btn.authorize")).to_be_visible()


@pytest.mark.parametrize("prefix", PREFIXES)
def test_every_contract_has_its_pages_without_internet(prefix: str, browsed: Browsed) -> None:
    browsed.page.goto(f"{browsed.server}{prefix}/docs")
    expect(browsed.page.locator(".opblock").first).to_be_visible()
    browsed.page.goto(f"{browsed.server}{prefix}/redoc")
    expect(browsed.page.locator("[data-section-id^='tag/'], [data-section-id^='operation/']").first).to_be_visible()


def test_the_front_page_says_what_this_is(browsed: Browsed) -> None:
    browsed.page.goto(browsed.server)
    text = browsed.page.locator("body").inner_text()
    assert f"Jubako {VERSION}" in text
    for model, row in zip(MODELS, browsed.page.locator("tbody tr").all_inner_texts(), strict=True):
        assert row.startswith(model)
        assert "ready on cpu" in row
    drawn = "Array.from(document.images).every(image => image.complete && image.naturalWidth > 0)"
    assert browsed.page.evaluate(drawn)


def test_the_links_of_the_front_page_lead_somewhere(browsed: Browsed) -> None:
    browsed.page.goto(browsed.server)
    addresses = {link.evaluate("link => link.href") for link in browsed.page.locator("a").all()}
    assert len(addresses) > 6
    for address in addresses:
        assert browsed.page.request.get(address).status == 200, address


@pytest.mark.parametrize(("path", "scheme"), [("/", "light"), ("/", "dark"), ("/docs", "dark")])
def test_pages_fit_a_phone_in_light_and_dark(path: str, scheme: str, browsed: Browsed) -> None:
    browsed.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    browsed.page.set_viewport_size({"width": 390, "height": 844})
    browsed.page.goto(f"{browsed.server}{path}")
    expect(browsed.page.locator("h1, h2").first).to_be_visible()
    assert browsed.page.evaluate("document.documentElement.scrollWidth") <= 390
