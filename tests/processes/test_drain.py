"""A server that is asked to stop: what it has in hand is finished, new requests are sent away, jobs go on later."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from processes.drain_middleware import RESTARTING
from tests.support.raw_sockets import opened
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import wait_for, write_tiny_catalogue
from tests.support.web import WEB

LONG = 900
"""Steps of a picture that takes many seconds."""
SECONDS = 150
"""Steps of one that takes some, and is waited for."""
FINAL = ("completed", "failed", "cancelled")
IDLE_END_S = 40.0
"""Generous: by itself it takes two seconds, and tests share their machine."""
SLOWED = {"JUBAKO_BATCH_TOKENS": "64", "JUBAKO_MAX_RUNNING": "2"}
PATIENT = {"JUBAKO_CLIENT_TIMEOUT_S": "600", "JUBAKO_DRAIN_S": "300"}
"""So that only the end itself closes idle connections, and pictures in hand are waited for on a busy machine too."""
DRAIN_S = 6
"""All but 5 of them are for requests: too short for two jobs of 400 steps."""


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_catalogue(tmp_path_factory.mktemp("drain"))


@pytest.fixture
def server(catalogue: Path, tmp_path: Path) -> Iterator[Replica]:
    files = {"JUBAKO_JOBS_FILE": str(tmp_path / "jobs.sqlite"), "JUBAKO_STORAGE": str(tmp_path / "files")}
    with replica(catalogue, **files, **SLOWED, **PATIENT) as server:
        yield server


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def draw(server: Replica, steps: int = 2) -> httpx.Response:
    body = {"prompt": "a red apple", "num_inference_steps": steps, "seed": 3}
    return WEB.post(f"{server.url}/text_to_image", json=body, timeout=120)


def in_hand(server: Replica) -> int:
    model: dict[str, Any] = server.get("/health").json()["models"][0]
    return int(model["running"])


def drawing(server: Replica, pool: ThreadPoolExecutor, steps: int = LONG) -> Future[httpx.Response]:
    """Begin a long picture."""
    picture = pool.submit(draw, server, steps)
    wait_for(lambda: in_hand(server) == 1)
    return picture


def test_what_is_in_hand_is_finished_and_new_requests_are_sent_away(server: Replica, pool: ThreadPoolExecutor) -> None:
    """Over HTTP and over a WebSocket alike; clients that have asked for nothing yet are not waited for."""
    address = f"{server.url.replace('http', 'ws')}/v1/images/stream"
    picture = pool.submit(draw, server, SECONDS)
    with connect(address, max_size=None) as socket, connect(address) as idle, opened(server.url) as half_sent:
        half_sent.sendall(b"GET /health HTTP/1.1\r\n")
        socket.send(json.dumps({"prompt": "a red apple", "num_inference_steps": SECONDS}))
        wait_for(lambda: in_hand(server) == 2)
        # So that neither ends before all of this.
        with server.runner_stopped():
            server.ask_to_stop()
            wait_for(lambda: sends_away(server))
            assert_sent_away(server)
            with pytest.raises(InvalidStatus) as refused:
                connect(address)
            assert refused.value.response.status_code == 503
            assert not picture.done()
            assert server.get("/livez").status_code == 200
        *_, last = [json.loads(text) for text in socket]
        assert last == {"type": "done", "images": 1}
        assert picture.result().status_code == 200
        done_s = time.monotonic()
        assert server.stopped() == 0
        assert time.monotonic() - done_s < IDLE_END_S
        with pytest.raises(ConnectionClosed) as closed:
            idle.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == RESTARTING


def sends_away(server: Replica) -> bool:
    """Whether the gateway heard that it ends. Its runners may have heard before, and then it is not ready either."""
    return WEB.post(f"{server.url}/text_to_image", json={}, timeout=60).status_code == 503


def assert_sent_away(server: Replica) -> None:
    bodies = {}
    for path in ("/text_to_image", "/v1/images/generations", "/api/tiny/t2i", "/pipeline/generate"):
        answer = WEB.post(f"{server.url}{path}", json={"prompt": "a red apple"}, timeout=60)
        assert (answer.status_code, answer.headers["connection"]) == (503, "close"), path
        assert int(answer.headers["retry-after"]) > 0
        bodies[path] = answer.json()
    assert bodies["/text_to_image"]["code"] == "busy"
    assert "being stopped" in bodies["/v1/images/generations"]["error"]["message"]


def test_jobs_that_take_longer_go_back_and_are_done_by_the_next_start(catalogue: Path, tmp_path: Path) -> None:
    files = {"JUBAKO_JOBS_FILE": str(tmp_path / "jobs.sqlite"), "JUBAKO_STORAGE": str(tmp_path / "files")}
    with replica(catalogue, **files, **SLOWED, JUBAKO_DRAIN_S=f"{DRAIN_S}") as server, ThreadPoolExecutor() as pool:
        ids = [server.submit(num_inference_steps=400, seed=seed) for seed in range(2)]
        wait_for(lambda: server.status(ids[0])["progress"] > 1)
        picture = pool.submit(draw, server, LONG)
        processes = psutil.Process(server.pid).children(recursive=True)
        with WEB.stream("GET", f"{server.url}/api/{ids[1]}/events") as watched:
            lines = watched.iter_lines()
            next(lines)
            begun_s = time.monotonic()
            server.ask_to_stop()
            assert server.stopped() == 0
            assert time.monotonic() - begun_s < DRAIN_S + IDLE_END_S
            with pytest.raises(httpx.TransportError):
                list(lines)
        _, alive = psutil.wait_procs(processes, timeout=60)
        assert alive == []
        assert picture.result().status_code == 503
        server.start()
        wait_for(lambda: all(server.status(i)["status"] in FINAL for i in ids), 120)
        assert {server.status(i)["error"] for i in ids} == {None}
        assert server.status(ids[0])["attempts"] == 2
        assert_ends_at_once(server)


def assert_ends_at_once(server: Replica) -> None:
    """An idle server does."""
    begun_s = time.monotonic()
    server.ask_to_stop(signal.SIGINT)
    assert server.stopped() == 0
    assert time.monotonic() - begun_s < IDLE_END_S


def test_a_second_signal_ends_the_waiting(server: Replica, pool: ThreadPoolExecutor) -> None:
    picture = drawing(server, pool)
    server.ask_to_stop()
    wait_for(lambda: sends_away(server))
    server.ask_to_stop(signal.SIGINT)
    assert picture.result().status_code == 503
    assert server.stopped() == 0


def test_a_service_manager_may_signal_every_process(server: Replica, pool: ThreadPoolExecutor) -> None:
    """As systemd does by default: the supervisor then tells the others once more."""
    picture = drawing(server, pool, SECONDS)
    for process in psutil.Process(server.pid).children(recursive=True):
        os.kill(process.pid, signal.SIGTERM)
    server.ask_to_stop()
    assert picture.result().status_code == 200
    assert server.stopped() == 0
