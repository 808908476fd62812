"""The stack of `deploy/compose.yaml` without containers: its commands and settings, as processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.servers.forked import Forked, forked_server
from tests.support.servers.serving import ROOT, free_port, half_mask, photo, png, wait_for
from tests.support.surroundings.compose import compose
from tests.support.surroundings.redis_server import PASSWORD, redis_server
from tests.support.web import WEB

Service = dict[str, Any]
READY_TIMEOUT_S = 240.0


def _settings(service: Service, **own: str) -> dict[str, str]:
    """A service's own environment, apart from what differs outside of its network."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("JUBAKO_")}
    return {**clean, **service["environment"], "OMP_NUM_THREADS": "1", "BENTOML_DO_NOT_TRACK": "True", **own}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="module")
def services(folder: Path) -> dict[str, Service]:
    subprocess.run([ROOT / "deploy" / "compose-secrets", folder / ".env"], check=True)
    answer = compose("--env-file", folder / ".env", "-f", ROOT / "deploy" / "compose.yaml")
    found: dict[str, Service] = json.loads(answer.stdout)["services"]
    return found


@pytest.fixture(scope="module")
def stack(folder: Path, services: dict[str, Service]) -> Iterator[str]:
    """Gateway, runner and Redis; yields the address that the file publishes."""
    with ExitStack() as running:
        redis = running.enter_context(redis_server(folder))
        drawing, speaking = free_port(), free_port()
        runner = _settings(services["runner"], HOME=str(folder), BENTOML_HOME=str(folder / "runner"))
        gateway = _settings(
            services["gateway"],
            HOME=str(folder),
            BENTOML_HOME=str(folder / "gateway"),
            JUBAKO_RUNNERS=services["gateway"]["environment"]["JUBAKO_RUNNERS"].replace(
                "//runner:3001", f"//127.0.0.1:{drawing}"
            ),
            REDIS_HOST="127.0.0.1",
            REDIS_PORT=str(redis.port),
            REDIS_PASSWORD=PASSWORD,
            # The store has a test of its own.
            JUBAKO_STORAGE=str(folder / "results"),
        )
        for command, environment, port in (
            (_without_place(services["runner"]["command"]), runner, drawing),
            (["bentoml", *services["gateway"]["command"], "service:Jubako"], gateway, speaking),
        ):
            _start(running, command, environment, port, folder)
        yield f"http://127.0.0.1:{speaking}"


def _without_place(command: list[str]) -> list[str]:
    """The command without the folder that the Bento has in its image."""
    place = command.index("--working-dir")
    return command[:place] + command[place + 2 :]


def _start(running: ExitStack, command: list[str], environment: dict[str, str], port: int, folder: Path) -> None:
    assert command[-1] == "3001" or "8001" in command
    program, *arguments = [str(port) if word in {"3001", "8001"} else word for word in command]
    assert program == "bentoml"
    process = forked_server(arguments, environment, ROOT, folder / f"log-{port}")
    running.callback(process.wait, timeout=90)
    running.callback(process.send_signal, signal.SIGTERM)
    # What the health checks of the file ask.
    wait_for(lambda: _is_ready(process, port, folder), READY_TIMEOUT_S)


def _is_ready(process: Forked, port: int, folder: Path) -> bool:
    assert process.poll() is None, (folder / f"log-{port}").read_text()[-3000:]
    try:
        return WEB.get(f"http://127.0.0.1:{port}/readyz", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def test_web_site_gets_its_inpainting(stack: str) -> None:
    assert WEB.get(f"{stack}/health").status_code == 200
    files = {"input_image": png(photo(128, 128)), "mask_image": png(half_mask(128, 128))}
    answer = WEB.post(
        f"{stack}/generate-inpainting",
        data={"prompt": "a red apple", "num_inference_steps": "2"},
        files=files,
        timeout=120,
    )
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["results"]) == 1


def test_jobs_go_through_redis_to_the_runner(stack: str) -> None:
    submitted = WEB.post(
        f"{stack}/api/miniature/t2i", json={"prompt": "a red apple", "num_inference_steps": 2}, timeout=60
    )
    assert submitted.status_code == 200, submitted.text
    job = submitted.json()["session_id"]
    wait_for(lambda: WEB.get(f"{stack}/api/{job}/status").json()["status"] == "completed")


def test_both_show_their_own_figures(stack: str, services: dict[str, Service]) -> None:
    """Prometheus asks both: who draws counts pictures, who speaks counts requests."""
    key = services["prometheus"]["environment"]["JUBAKO_METRICS_KEY"]

    def told() -> str:
        return WEB.get(f"{stack}/metrics", headers={"Authorization": f"Bearer {key}"}).text

    assert WEB.get(f"{stack}/metrics").status_code == 401
    wait_for(lambda: "jubako_jobs_waiting" in told())
    assert "jubako_images_total" not in told()
