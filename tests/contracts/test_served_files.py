"""Results in a local folder, as the gateway serves them; and nothing else of that folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest

from settings import Settings
from storage.client import open_storage
from storage.file_keys import input_key, result_key
from tests.support.servers.serving import STORAGE
from tests.support.web import client_of

SESSION = "550e8400-e29b-41d4-a716-446655440000"
ACCEPTED = datetime(2025, 1, 4, 12, 5, 30, tzinfo=UTC)


@pytest.fixture
def http(server: str) -> Iterator[httpx.Client]:
    with client_of(server) as client:
        yield client


@pytest.fixture
def folder(served_folder: Path) -> Path:
    return served_folder / STORAGE


@pytest.fixture
async def url(folder: Path) -> str:
    storage = open_storage(Settings(storage=str(folder)))
    key = result_key(SESSION, ACCEPTED, "image/webp")
    await storage.put(key, b"0123456789", "image/webp")
    await storage.put(input_key(SESSION, "image", "image/png"), b"private", "image/png")
    return await storage.url(key)


def test_a_result_has_its_type_and_may_be_kept(http: httpx.Client, url: str) -> None:
    response = http.get(url)
    assert (response.status_code, response.content) == (200, b"0123456789")
    assert response.headers["content-type"] == "image/webp"
    assert response.headers["cache-control"] == "private, max-age=31536000, immutable"


def test_a_part_of_it(http: httpx.Client, url: str) -> None:
    response = http.get(url, headers={"Range": "bytes=2-4"})
    assert (response.status_code, response.content) == (206, b"234")
    assert response.headers["content-range"] == "bytes 2-4/10"
    assert http.get(url, headers={"Range": "bytes=99-"}).status_code == 416


def test_head(http: httpx.Client, url: str) -> None:
    response = http.head(url)
    assert (response.status_code, response.headers["content-length"], response.content) == (200, "10", b"")


def test_who_has_it_need_not_load_it_again(http: httpx.Client, url: str) -> None:
    tag = http.get(url).headers["etag"]
    response = http.get(url, headers={"If-None-Match": tag})
    assert (response.status_code, response.content) == (304, b"")


def test_a_missing_result_is_refused_in_our_words(http: httpx.Client, url: str) -> None:
    response = http.get("/files/generations/missing.png")
    assert (response.status_code, response.json()["code"]) == (404, "not_stored")


@pytest.mark.parametrize(
    "path",
    [
        "/files",
        "/files/",
        "/files/generations/",
        f"/files/inputs/{SESSION}_image.png",
        f"/files/generations/../inputs/{SESSION}_image.png",
        f"/files/generations/%2e%2e/inputs/{SESSION}_image.png",
        f"/files/generations/..%2finputs%2f{SESSION}_image.png",
        f"/files/generations/..%5cinputs%5c{SESSION}_image.png",
        "/files/generations//etc/passwd",
        "/files/generations/%2fetc%2fpasswd",
        "/files/generations/a%00b",
        "/files/generations/" + "x" * 300,
    ],
)
def test_nothing_else_is_served(path: str, http: httpx.Client, url: str) -> None:
    assert raw_status(str(http.base_url), path) == 404


def test_links_lead_nowhere(http: httpx.Client, url: str, folder: Path) -> None:
    link = folder / "generations" / "link.png"
    link.symlink_to(folder / input_key(SESSION, "image", "image/png"))
    assert http.get("/files/generations/link.png").status_code == 404
    link.unlink()


def raw_status(base_url: str, path: str) -> int:
    """Ask for exactly this path: clients like httpx would tidy it up first."""
    host, port = base_url.removeprefix("http://").rstrip("/").split(":")
    connection = HTTPConnection(host, int(port))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()
