"""`python -m tools.pictures.clients FOLDER` has other people's programs generate images, and writes pictures of
them into docs/pictures/.

FOLDER has the environments of these programs, which tools/need-pictured-clients makes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Page, expect

from tests.support.browser import browsing
from tests.support.servers.replica import replica
from tests.support.servers.serving import free_port, wait_for
from tests.support.web import WEB
from tools.pictures.ui_page import keep

NOTEBOOK_PX, CHAT_PX, SETTINGS_PX = (900, 530), (900, 520), (1100, 800)
CELLS = (
    "from jubako_client import Jubako\n\njubako = Jubako()  # at JUBAKO_CLIENT_URL\njubako.models()[0].id",
    'fox = jubako.text_to_image("a fox on a green background", seed=7)\nfox',
    'jubako.image_to_image("a fox on a blue background", fox, strength=0.8, seed=7)',
)
PROMPT = "a red apple on a blue background"
OPEN_WEBUI_STARTS_S = 300.0
"""Time to start: it imports torch and more, and fills its database."""
ASK_FOR_IMAGE = """prompt => fetch("/api/v1/images/generations", {
    method: "POST",
    headers: {Authorization: `Bearer ${localStorage.token}`, "Content-Type": "application/json"},
    body: JSON.stringify({prompt}),
}).then(answer => answer.status)"""
"""A request to Open WebUI's own server, which forwards it as its settings say."""


def main(programs: Path) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder, plain = Path(temporary), {"JUBAKO_MODELS": "miniature", "JUBAKO_CATALOGUE": ""}
        with replica(folder / "none", **plain) as server:
            _notebook(server.url, programs, folder)
            with _open_webui(server.url, programs, folder) as url, browsing(url) as browsed:
                _chat(browsed.page, url)
                _settings(browsed.page, url)


def _notebook(jubako: str, programs: Path, folder: Path) -> None:
    """Run a notebook, and look at it as a page."""
    empty: dict[str, Any] = {"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": []}
    cells = [{**empty, "id": str(number), "source": text} for number, text in enumerate(CELLS)]
    file = folder / "notebook.ipynb"
    file.write_text(json.dumps({"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}))
    command: list[str | Path] = [programs / "notebook/bin/jupyter", "nbconvert", "--to", "html", "--execute", file]
    subprocess.run(command, env={**os.environ, "JUBAKO_CLIENT_URL": jubako}, check=True)
    with browsing("file://") as browsed:
        _resize(browsed.page, NOTEBOOK_PX)
        browsed.page.goto(file.with_suffix(".html").as_uri())
        expect(browsed.page.locator("main img")).to_have_count(2)
        keep(browsed.page, "client-notebook")


@contextmanager
def _open_webui(jubako: str, programs: Path, folder: Path) -> Iterator[str]:
    """Serve Open WebUI, with this server's models in its chats and as its engine of images; yields its address."""
    settings = {
        "DATA_DIR": str(folder / "open-webui"),
        "WEBUI_AUTH": "False",
        "WEBUI_SECRET_KEY": "not-needed-without-other-users",
        "OFFLINE_MODE": "true",
        "RAG_EMBEDDING_ENGINE": "openai",
        "ENABLE_OLLAMA_API": "false",
        "OPENAI_API_BASE_URLS": f"{jubako}/v1",
        "OPENAI_API_KEYS": "not-needed",
        "DEFAULT_MODELS": "miniature",
        **{f"ENABLE_{what}_GENERATION": "false" for what in ("TITLE", "TAGS", "FOLLOW_UP", "AUTOCOMPLETE")},
        "ENABLE_IMAGE_GENERATION": "true",
        "IMAGE_GENERATION_ENGINE": "automatic1111",
        "AUTOMATIC1111_BASE_URL": jubako,
        "IMAGE_GENERATION_MODEL": "miniature",
        "IMAGE_SIZE": "128x128",
        "IMAGE_STEPS": "20",
        "ENABLE_IMAGE_PROMPT_GENERATION": "false",
    }
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    program = programs / "open-webui/bin/open-webui"
    command: list[str | Path] = [program, "serve", "--host", "127.0.0.1", "--port", str(port)]
    with (folder / "open-webui.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **settings}, cwd=folder, stdout=log, stderr=log)
    try:
        wait_for(lambda: _answers(url), OPEN_WEBUI_STARTS_S)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)


def _answers(url: str) -> bool:
    try:
        return WEB.get(f"{url}/health").status_code == 200
    except httpx.TransportError:
        return False


def _chat(page: Page, url: str) -> None:
    _resize(page, CHAT_PX)
    page.goto(url)
    page.get_by_role("button", name="Okay, Let's Go!").click()
    page.locator("#chat-input").click()
    page.keyboard.type(PROMPT)
    page.keyboard.press("Enter")
    expect(page.get_by_alt_text("Generated Image")).to_be_visible()
    # Shown below a complete answer.
    expect(page.get_by_role("button", name="Regenerate")).to_be_visible()
    keep(page, "client-open-webui")


def _settings(page: Page, url: str) -> None:
    """Picture the image settings, and generate an image with them."""
    _resize(page, SETTINGS_PX)
    page.goto(f"{url}/admin/settings/images")
    expect(page.get_by_title("Select Engine").first).to_have_value("automatic1111")
    status = page.evaluate(ASK_FOR_IMAGE, PROMPT)
    assert status == 200, status
    page.evaluate("document.activeElement.blur()")
    keep(page, "client-open-webui-settings")


def _resize(page: Page, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
