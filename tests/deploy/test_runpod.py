"""The RunPod handler in the package's own local test modes, and against a stand-in for RunPod's job queue."""

from __future__ import annotations

import base64
import importlib.util
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.servers.serving import (
    ROOT,
    free_port,
    half_mask,
    photo,
    png,
    serving_environment,
    wait_for,
    write_tiny_catalogue,
)

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("runpod") is None, reason="needs the extra `runpod`: pip install '.[runpod]'"
)
WORKER = [sys.executable, "-W", "ignore", "-m", "deploy.runpod.handler"]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    catalogue = write_tiny_catalogue(tmp_path_factory.mktemp("runpod"))
    return {**serving_environment(catalogue), "JUBAKO_MODELS": "tiny", "PYTHONUNBUFFERED": "1"}


def base64_png(image: Image.Image) -> str:
    return base64.b64encode(png(image)).decode()


def a_job(**fields: Any) -> dict[str, Any]:
    images = {"input_image": base64_png(photo(90, 70)), "mask_image": base64_png(half_mask(90, 70))}
    return {"prompt": "a red apple", "seed": 4, **images, **fields}


def check_results(output: dict[str, Any], count: int) -> None:
    assert [result["filename"] for result in output["results"]] == [f"generation_{n + 1}.png" for n in range(count)]
    kept = np.asarray(half_mask(90, 70)) == 0
    for result in output["results"]:
        drawn = np.asarray(Image.open(BytesIO(base64.b64decode(result["data"]))))
        assert (drawn[kept] == np.asarray(photo(90, 70))[kept]).all()


class TestLocally:
    def test_a_test_input_is_drawn(self, environment: dict[str, str]) -> None:
        command = [*WORKER, "--test_input", json.dumps({"input": a_job()})]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
        assert "completed successfully" in run.stdout
        assert "generation_1.png" in run.stdout

    def test_a_mistake_fails_the_job_with_its_reason(self, environment: dict[str, str]) -> None:
        command = [*WORKER, "--test_input", json.dumps({"input": a_job(mask_image=base64_png(half_mask(32, 32)))})]
        run = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert run.returncode == 1
        assert "mask_image: is 32x32 pixels" in run.stdout


@pytest.fixture(scope="module")
def api(environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The package's own API server around the handler."""
    port = free_port()
    command = [*WORKER, "--rp_serve_api", "--rp_api_port", str(port)]
    url = f"http://localhost:{port}"
    with running(command, environment, tmp_path_factory.mktemp("api") / "log"):
        wait_for(lambda: answers(f"{url}/"), 200)
        yield url


@contextmanager
def running(command: list[str], environment: dict[str, str], log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=60).is_success
    except httpx.TransportError:
        return False


class TestTheApi:
    def test_a_job_is_run_and_its_output_is_the_servers_answer(self, api: str) -> None:
        body = httpx.post(f"{api}/runsync", json={"input": a_job(num_generations=2)}, timeout=120).json()
        assert body["status"] == "COMPLETED"
        check_results(body["output"], 2)

    @pytest.mark.parametrize(
        ("fields", "word"),
        [
            ({"prompt": None}, "prompt"),
            ({"input_image": "http://127.0.0.1/a.png"}, "addresses and file names are not followed"),
            ({"colour": "red"}, "colour"),
            ({"num_generations": 99}, "num_generations"),
        ],
    )
    def test_mistakes_are_named(self, api: str, fields: dict[str, Any], word: str) -> None:
        body = httpx.post(f"{api}/runsync", json={"input": a_job(**fields)}, timeout=120).json()
        assert body["status"] == "FAILED"
        assert word in body["error"]


@dataclass
class JobQueue:
    """What a worker sees of RunPod: jobs to take, and where to say how they are."""

    waiting: list[dict[str, Any]]
    said: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def outputs(self) -> dict[str, dict[str, Any]]:
        return {job: body["output"] for job, body in self.said if is_done(body)}


@contextmanager
def job_queue(queue: JobQueue) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if "/job-take-batch/" in self.path:
                taken, queue.waiting = queue.waiting, []
                self._give(taken or None)
            elif "/job-take/" in self.path:
                self._give(queue.waiting.pop() if queue.waiting else None)
            else:
                self._give(None)

        def _give(self, jobs: object) -> None:
            self._answer(204 if jobs is None else 200, b"" if jobs is None else json.dumps(jobs).encode())

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            queue.said.append((self.path.split("/")[3].partition("?")[0], json.loads(body)))
            self._answer(200, b"{}")

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def test_a_worker_takes_jobs_together_and_says_how_far_they_are(environment: dict[str, str], tmp_path: Path) -> None:
    jobs = [{"id": f"job-{n}", "input": a_job(num_inference_steps=200, seed=n)} for n in range(3)]
    queue = JobQueue(jobs)
    with job_queue(queue) as port:
        address = f"http://127.0.0.1:{port}"
        told = {
            "RUNPOD_WEBHOOK_GET_JOB": f"{address}/job-take/$ID?gpu=none",
            "RUNPOD_WEBHOOK_POST_OUTPUT": f"{address}/job-done/$RUNPOD_POD_ID/$ID?gpu=none",
            "RUNPOD_POD_ID": "a-worker",
        }
        with running(WORKER, {**environment, **told}, tmp_path / "log"):
            wait_for(lambda: len(queue.outputs()) == 3, 250)
    for output in queue.outputs().values():
        check_results(output, 1)
    progress = [(job, body["output"]["steps"]) for job, body in queue.said if "step" in (body.get("output") or {})]
    assert set(progress) == {(f"job-{n}", 150) for n in range(3)}
    # Each had begun before any was done.
    assert len({job for job, _ in queue.said[: 1 + next(i for i, (_, b) in enumerate(queue.said) if is_done(b))]}) == 3


def is_done(body: dict[str, Any]) -> bool:
    return "results" in (body.get("output") or {})
