"""The first page of docs/contracts.md: each document's first command, answered by `make serve` with one setting."""

from __future__ import annotations

import base64
import json
import re
import subprocess
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.support.engine.shipped import write_shipped
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import FRESH, ROOT, half_mask, photo, wait_for
from tests.tiny.images.flux import tiny_flux

PAGE = (ROOT / "docs" / "contracts.md").read_text("utf-8")
SECTION = PAGE.partition("## The first commands\n")[2].partition("\n## ")[0]
COMMANDS = dict(re.findall(r"^([A-Z][\w' ]+):\n\n```bash\n(.*?)```", SECTION, re.DOTALL | re.MULTILINE))
SETTING = "JUBAKO_ALIASES='*=miniature'"
OF_TESTS = ("JUBAKO_CATALOGUE", "JUBAKO_MODELS", "JUBAKO_MAX_UPLOAD_BYTES", "JUBAKO_MAX_IMAGE_PX")
"""What other servers of tests are given; empty is unset."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replica]:
    """`make serve` with that setting; the catalogue only says where files may be."""
    catalogue = write_shipped(tmp_path_factory.mktemp("first"), {"flux-dev": tiny_flux})
    name, _, value = SETTING.partition("=")
    settings = {**dict.fromkeys(OF_TESTS, ""), name: value.strip("'")}
    with replica(catalogue, "service:Jubako", FRESH, **settings) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With the files that the commands send."""
    photo(128, 96).save(tmp_path / "input.png")
    photo(128, 96).save(tmp_path / "original.png")
    half_mask(128, 96).save(tmp_path / "mask.png")
    return tmp_path


def answers(title: str, server: Replica, folder: Path) -> list[dict[str, Any]]:
    """Return the answers to the page's commands of one document, host and port apart."""
    here = re.sub(r"http://localhost:\d+", server.url, COMMANDS[title])
    script = "set -e\n" + here.replace("curl ", "curl -sS ").replace("\ncurl ", "\necho\ncurl ")
    done = subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, check=True, timeout=300, text=True)
    return [json.loads(line) for line in done.stdout.splitlines() if line]


def test_the_page_has_all_five_and_the_setting() -> None:
    assert list(COMMANDS) == [
        "Asynchronous jobs",
        "Inpainting server",
        "OpenAI's images",
        "Pipeline microservice",
        "Storyboards",
    ]
    assert f"{SETTING} make serve" in SECTION


def test_asynchronous_jobs(server: Replica, folder: Path) -> None:
    (submitted,) = answers("Asynchronous jobs", server, folder)
    assert submitted["status"] == "pending"
    wait_for(lambda: server.status(submitted["session_id"])["status"] in ("completed", "failed"), 120)
    status = server.status(submitted["session_id"])
    assert (status["status"], status["model"]) == ("completed", "miniature")
    assert status["hint"].startswith("width: 1024x768 became 256x192, the nearest size that the model generates; ")
    assert Image.open(BytesIO(server.get(status["result_url"].removeprefix(server.url)).content)).size == (256, 192)


def test_inpainting(server: Replica, folder: Path) -> None:
    healthy, painted = answers("Inpainting server", server, folder)
    assert healthy["status"] == "healthy"
    assert [result["content_type"] for result in painted["results"]] == ["image/png"] * 2
    assert Image.open(BytesIO(base64.b64decode(painted["results"][0]["data"]))).size == (128, 96)


def test_openais_images(server: Replica, folder: Path) -> None:
    (edited,) = answers("OpenAI's images", server, folder)
    assert Image.open(BytesIO(base64.b64decode(edited["data"][0]["b64_json"]))).size == (128, 96)


def test_the_pipeline(server: Replica, folder: Path) -> None:
    prepared, started = answers("Pipeline microservice", server, folder)
    assert prepared == {"status": "success", "message": "Pipeline prepared on CPU."}
    assert started == {"status": "success", "message": "Pipeline execution started in background."}
    wait_for(lambda: server.get("/pipeline/status").json() == {"running": False, "completed": True})
    assert Image.open(BytesIO(server.get("/pipeline/image").content)).size == (128, 128)


def test_storyboards(server: Replica, folder: Path) -> None:
    (story,) = answers("Storyboards", server, folder)
    assert story["success"]
    assert story["story_prompt"] == "Aldar Kose tricks a merchant and steals his horse"
    assert len(story["frames"]) == story["num_frames"] >= 6
