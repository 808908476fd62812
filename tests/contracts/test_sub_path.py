"""The server behind a real nginx that shows it under a path of its own: all links lead back through the proxy."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import pytest
from openai import OpenAI
from PIL import Image
from playwright.sync_api import expect
from websockets.sync.client import connect

from tests.support.browser import CHROMIUM, browsing
from tests.support.servers.serving import free_port, wait_for
from tests.support.ui_page import draw, open_tab
from tests.support.web import WEB

pytestmark = pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx (tools/need-nginx)")

PREFIX = "/pictures"
# The locations are those of docs/deploy/vm.md.
NGINX = """
daemon off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    merge_slashes off;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen 127.0.0.1:{port};
        location {prefix}/ {{
            proxy_pass {server}/;
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-Prefix {prefix};
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_buffering off;
        }}
    }}
}}
"""


@pytest.fixture(scope="module")
def proxied(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address as the proxy shows it."""
    folder, port = tmp_path_factory.mktemp("nginx"), free_port()
    configuration = folder / "nginx.conf"
    configuration.write_text(NGINX.format(folder=folder, port=port, prefix=PREFIX, server=server))
    url = f"http://127.0.0.1:{port}{PREFIX}"
    nginx = subprocess.Popen(["nginx", "-c", str(configuration), "-p", str(folder), "-e", str(folder / "error.log")])
    try:
        wait_for(lambda: _is_up(url), timeout_s=20)
        yield url
    finally:
        nginx.terminate()
        nginx.wait(timeout=20)


def _is_up(url: str) -> bool:
    try:
        return WEB.get(f"{url}/livez").status_code == 200
    except httpx.TransportError:
        return False


def opened(url: str) -> Image.Image:
    return Image.open(BytesIO(WEB.get(url).raise_for_status().content))


def test_openais_client_finds_its_files(proxied: str) -> None:
    with OpenAI(base_url=f"{proxied}/v1", api_key="x", max_retries=0) as client:
        answer = client.images.generate(model="tiny", prompt="an apple", response_format="url")
    assert answer.data is not None
    url = answer.data[0].url or ""
    assert url.startswith(f"{proxied}/files/generations/")
    assert opened(url).size == (64, 64)


def test_a_job_is_followed_to_its_result(proxied: str) -> None:
    session = WEB.post(f"{proxied}/api/tiny/t2i", json={"prompt": "an apple"}).json()["session_id"]
    wait_for(lambda: _status(proxied, session)["status"] == "completed")
    assert _status(proxied, session)["result_url"].startswith(f"{proxied}/files/")
    redirect = WEB.get(f"{proxied}/api/{session}/result")
    assert redirect.status_code == 307
    assert redirect.headers["location"].startswith(f"{proxied}/files/")
    assert opened(redirect.headers["location"]).size == (64, 64)


def _status(proxied: str, session: str) -> dict[str, Any]:
    status: dict[str, Any] = WEB.get(f"{proxied}/api/{session}/status").json()
    return status


@pytest.mark.parametrize("contract", ["", "/openai", "/generator", "/text2image", "/inpainting", "/storyboard"])
@pytest.mark.parametrize("page", ["docs", "redoc"])
def test_pages_find_their_description_and_call_the_proxy(contract: str, page: str, proxied: str) -> None:
    description = f"{PREFIX}{contract}/openapi.json"
    assert description in WEB.get(f"{proxied}{contract}/{page}").text
    found = WEB.get(f"{proxied.removesuffix(PREFIX)}{description}").json()
    assert found["servers"] == [{"url": f"{PREFIX}{contract}"}]
    assert found["paths"]


def test_redirects_stay_behind_it(proxied: str) -> None:
    redirect = WEB.get(f"{proxied}/openai")
    assert (redirect.status_code, redirect.headers["location"]) == (307, f"{proxied}/openai/")


def test_doubled_slashes_and_last_ones(proxied: str) -> None:
    body = {"model": "tiny", "prompt": "an apple"}
    for path in ("//v1//images/generations", "/v1/images/generations/"):
        assert WEB.post(f"{proxied}{path}", json=body).status_code == 200


def test_sockets(proxied: str) -> None:
    with connect(f"{proxied.replace('http', 'ws')}/v1/images/stream", max_size=None) as socket:
        socket.send(json.dumps({"model": "tiny", "prompt": "an apple"}))
        assert [json.loads(message)["type"] for message in socket][-1] == "done"


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")
def test_the_page_to_play_with_is_under_it_too(proxied: str) -> None:
    with browsing(proxied) as browsed, open_tab(browsed, "Create") as page:
        draw(page)
        page.get_by_role("button", name="Copy as code").first.click()
        expect(page.locator("#create-code textarea").first).to_have_value(re.compile(f"{proxied}/text_to_image"))


def test_without_the_proxy_nothing_changes(server: str) -> None:
    answer = WEB.post(f"{server}/v1/images/generations", json={"prompt": "an apple", "response_format": "url"}).json()
    assert answer["data"][0]["url"].startswith(f"{server}/files/generations/")
    assert WEB.get(f"{server}/openapi.json").json()["servers"] == [{"url": "/"}]
