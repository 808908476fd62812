"""A server with its defaults, and the pages of other sites that are open in its operator's browser."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
import websockets

from tests.support.web import WEB

EVIL = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}
"""A request that browsers send without asking the server first."""


@pytest.mark.parametrize(
    "path", ["/text_to_image", "/stream", "/api/tiny/t2i", "/v1/images/generations", "/models/tiny/unload", "/generate"]
)
def test_they_cannot_work_it(server: str, path: str) -> None:
    answer = WEB.post(server + path, content='{"prompt": "a red apple"}', headers=EVIL)
    assert answer.status_code == 403
    assert "JUBAKO_CORS_ORIGINS" in answer.text


def test_they_cannot_give_it_a_name_of_theirs(server: str) -> None:
    answer = WEB.get(f"{server}/v1/models", headers={"Host": "rebound.evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
    assert WEB.get(f"{server}/v1/models", headers={"Host": "localhost:3000"}).status_code == 200


def test_they_cannot_open_its_sockets(server: str) -> None:
    async def opened(origin: str | None) -> int:
        address = server.replace("http", "ws") + "/api/no-such-job/events"
        try:
            async with websockets.connect(address, origin=websockets.Origin(origin) if origin else None):
                return 101
        except websockets.InvalidStatus as error:
            return error.response.status_code

    assert asyncio.run(opened("https://evil.example")) == 403
    assert asyncio.run(opened(server)) == asyncio.run(opened(None)) == 101


def test_its_own_pages_can_use_it(server: str) -> None:
    answer = WEB.post(f"{server}/api/nowhere", json={}, headers={"Origin": server, "Sec-Fetch-Site": "same-origin"})
    assert answer.status_code == 405


def test_it_says_once_that_others_on_its_network_may_use_it(server: str, served_folder: Path) -> None:
    assert WEB.get(f"{server}/livez").status_code == 200
    said = "this server listens on 0.0.0.0 without API keys: all who reach it may use it"
    assert (served_folder / "log").read_text().count(said) == 1
