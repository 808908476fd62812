"""The storyboard server as its document starts it, and the document's examples against it."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.support.servers.forked import ServerProcess, forked_python, run_forked
from tests.support.servers.serving import ROOT, free_port, wait_for
from tests.support.web import client_of

LORA = ROOT / "models" / "miniature" / "loras" / "frame.safetensors"
KEY = "0123456789abcdef"
START_S = 240.0
# Fewer steps than the miniature's own would do for a test, but its document's examples say none.
TRIES = {"JUBAKO_STORY_MAX_TRIES": "1"}
QUICK = {"num_inference_steps": 2, "num_frames": 6}


@contextmanager
def running(
    start: Callable[..., ServerProcess], *command: str, folder: Path, log: Path, **variables: str
) -> Iterator[httpx.Client]:
    """Run a command of the document on a free port, from a folder, until it has loaded its model."""
    port = free_port()
    ours = ("JUBAKO_", "OPENAI_", "LORA_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    told = {**environment, "JUBAKO_DEVICE": "cpu", **TRIES, **variables}
    server = start([*command, "--port", str(port)], told, folder, log)
    try:
        with client_of(f"http://127.0.0.1:{port}") as client:
            wait_for(lambda: server.poll() is not None or is_loaded(client), START_S)
            assert server.poll() is None, log.read_text()
            yield client
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(60)


def fresh_python(arguments: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> ServerProcess:
    """Start a process that imports its libraries itself."""
    with log.open("wb") as output:
        command = [sys.executable, *arguments]
        return subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)


def is_loaded(client: httpx.Client) -> bool:
    try:
        return bool(client.get("/health").json()["model_loaded"])
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elsewhere")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[httpx.Client]:
    command = (str(ROOT / "api" / "server.py"), "--lora-path", str(LORA), "--host", "0.0.0.0")
    with running(forked_python, *command, folder=folder, log=folder / "log") as client:
        yield client


def generate(client: httpx.Client, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post("/generate", json=body)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.mark.parametrize("address", ["/", "/health"])
def test_its_health_is_the_documents(address: str, server: httpx.Client) -> None:
    body = server.get(address).json()
    assert body.items() >= {"status": "running", "model_loaded": True, "lora_path": f".../{LORA.name}"}.items()
    assert "ref_guided_available" in body


def test_it_says_that_others_may_use_it_and_refuses_pages_of_other_sites(server: httpx.Client, folder: Path) -> None:
    answer = server.post("/generate", content="{}", headers={"Origin": "https://evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (folder / "log").read_text().count("listens on 0.0.0.0 without API keys") == 1


def test_the_documents_request_with_curl(server: httpx.Client) -> None:
    body = {"prompt": "Aldar Kose tricks a merchant and steals his horse", "use_ref_guided": False, "seed": 42}
    command = ["curl", "-s", "-X", "POST", f"{server.base_url}/generate", "-H", "Content-Type: application/json"]
    run = subprocess.run([*command, "-d", json.dumps(body)], capture_output=True, check=True)
    answer = json.loads(run.stdout)
    assert (answer["success"], answer["story_prompt"], answer["mode"]) == (True, body["prompt"], "simple")
    assert answer["num_frames"] == len(answer["frames"])
    assert [frame["frame_number"] for frame in answer["frames"]] == list(range(1, answer["num_frames"] + 1))
    assert 6 <= answer["num_frames"] <= 10
    picture = Image.open(BytesIO(base64.b64decode(answer["frames"][0]["image"])))
    assert (picture.format, picture.size) == ("PNG", (128, 128))
    assert all(-1 <= frame["clip_score"] <= 1 for frame in answer["frames"])


def test_the_same_request_gives_the_same_bytes(server: httpx.Client) -> None:
    body = {"prompt": "Aldar Kose riding his horse", "seed": 123, **QUICK}
    one, other = (generate(server, body)["frames"] for _ in range(2))
    assert one == other
    assert one != generate(server, {**body, "seed": 124})["frames"]


def test_it_documents_itself(server: httpx.Client) -> None:
    assert server.get("/docs").status_code == server.get("/redoc").status_code == 200
    assert {"/generate", "/health", "/"} <= server.get("/openapi.json").json()["paths"].keys()


def test_what_it_refuses_is_told_as_the_document_says(server: httpx.Client) -> None:
    answer = server.post("/generate", json={"prompt": "short"})
    assert answer.is_client_error
    assert "at least 10 characters" in answer.json()["detail"]


def test_uvicorn_serves_the_application_in_several_processes_and_to_those_with_a_key(tmp_path: Path) -> None:
    command = ("-m", "uvicorn", "api.server:app", "--host", "127.0.0.1", "--workers", "2")
    operators = {"LORA_PATH": str(LORA), "JUBAKO_API_KEYS": f"aidana:{KEY}"}
    with running(fresh_python, *command, folder=ROOT, log=tmp_path / "log", **operators) as client:
        assert client.post("/generate", json={"prompt": "A fox finds a key"}).status_code == 401
        client.headers["Authorization"] = f"Bearer {KEY}"
        made = generate(client, {"prompt": "A fox finds a key in the castle", **QUICK})
        assert client.get("/health").json()["lora_path"] == f".../{LORA.name}"
        # The first one to be ready has answered all of this.
        wait_for(lambda: (tmp_path / "log").read_text().count("Application startup complete") == 2, START_S)
    assert len(made["frames"]) == 6


def test_a_wrong_setting_ends_the_start_in_one_line(tmp_path: Path) -> None:
    command = [str(ROOT / "api" / "server.py"), "--port", str(free_port())]
    run = run_forked(command, {**os.environ, "JUBAKO_STORY_MODEL": "miniatur"}, tmp_path)
    assert run.returncode != 0
    assert "jubako: JUBAKO_STORY_MODEL: 'miniatur' is not one of the served models" in run.stderr
    assert "Traceback" not in run.stderr
