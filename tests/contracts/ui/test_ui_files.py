"""The page `/ui` shows nobody a file of the server's machine, also not by its name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.browser import CHROMIUM, Browsed
from tests.support.ui_page import open_tab

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium (tools/need-chromium)")

SECRET = "nobody-may-read-this"
TAKES_FILES = ("file", "image", "imageeditor", "gallery", "video")


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A file that no visitor has uploaded."""
    file = tmp_path / f"{SECRET}.png"
    Image.new("RGB", (64, 64), "red").save(file)
    return file


def test_a_path_in_place_of_an_upload_is_refused(browsed: Browsed, foreign: Path) -> None:
    with open_tab(browsed, "Gallery") as page:
        config = page.evaluate("window.gradio_config")
        kinds = {each["id"]: each["type"] for each in config["components"]}
        asked = {
            number: [_named(kinds[each], foreign) for each in action["inputs"]]
            for number, action in enumerate(config["dependencies"])
            if any(kinds[each] in TAKES_FILES for each in action["inputs"])
        }
        assert len(asked) > 5
        answers = [page.evaluate(ASK, [browsed.server, number, data]) for number, data in asked.items()]
        assert [answer for answer in answers if _shown(answer)] == []


ASK = """async ([server, number, data]) => {
    const session = Math.random().toString(36).slice(2), api = `${server}/ui/gradio_api/queue`;
    const body = JSON.stringify({data, fn_index: number, session_hash: session});
    const headers = {"Content-Type": "application/json"};
    const joined = await fetch(`${api}/join`, {method: "POST", headers, body});
    if (!joined.ok) return "";
    return await (await fetch(`${api}/data?session_hash=${session}`)).text();
}"""


def _named(kind: str, file: Path) -> Any:
    named = {"path": str(file), "meta": {"_type": "gradio.FileData"}}
    match kind:
        case "file" | "image":
            return named
        case "imageeditor":
            return {"background": named, "layers": [named], "composite": named}
        case "gallery":
            return [{"image": named, "caption": None}]
        case "video":
            return {"video": named}
        case _:
            return None


def _shown(answer: str) -> bool:
    """Return whether an answer has an address of the file."""
    return any(SECRET in line and "/file=" in line for line in answer.splitlines())
