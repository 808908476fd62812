"""Nothing that was accepted is lost: processes are killed, Redis and storage go away, and every job still ends."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.object_store import object_store
from tests.support.redis_server import RedisServer, redis_server
from tests.support.replica import Replica, replica
from tests.support.serving import wait_for, write_tiny_catalogue
from tests.support.web import WEB

FINAL = ("completed", "failed", "cancelled")
END_TIMEOUT_S = 200.0


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_catalogue(tmp_path_factory.mktemp("durability"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path) as server:
        yield server


def jobs_file(folder: Path) -> dict[str, str]:
    return {"JUBAKO_JOBS_FILE": str(folder / "jobs.sqlite"), "JUBAKO_STORAGE": str(folder / "files")}


def ends(server: Replica, ids: list[str]) -> list[dict[str, Any]]:
    """Wait until every job has ended; return how each did."""
    waiting = set(ids)

    def all_ended() -> bool:
        for session_id in list(waiting):
            # While Redis is coming up, there is an error in place of a status.
            if server.status(session_id).get("status") in FINAL:
                waiting.discard(session_id)
        return not waiting

    wait_for(all_ended, END_TIMEOUT_S)
    return [server.status(session_id) for session_id in ids]


def assert_done(server: Replica, ids: list[str]) -> list[dict[str, Any]]:
    """Every job is completed, with one result that can be fetched."""
    done = ends(server, ids)
    assert Counter(body["status"] for body in done) == {"completed": len(ids)}, [b["error"] for b in done]
    assert all(len(body["results"]) == 1 for body in done)
    assert {WEB.get(body["result_url"]).status_code for body in done} == {200}
    return done


def test_a_killed_and_restarted_server_finishes_its_jobs(catalogue: Path, tmp_path: Path) -> None:
    with replica(catalogue, **jobs_file(tmp_path)) as server:
        ids = [server.submit(seed=seed, num_inference_steps=200) for seed in range(20)]
        wait_for(lambda: server.status(ids[0])["progress"] > 10)
        server.kill()
        server.start()
        done = assert_done(server, ids)
    assert max(body["attempts"] for body in done) == 2


def test_one_of_two_replicas_dies_and_nothing_is_lost(
    catalogue: Path, tmp_path: Path, redis: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = {**jobs_file(tmp_path), "JUBAKO_REDIS_URL": redis.url, "JUBAKO_JOB_REDELIVERY_S": "2"}
    few = {"JUBAKO_JOB_CONCURRENCY": "8", "JUBAKO_MAX_JOBS_PER_CALLER": "1000"}
    with ThreadPoolExecutor() as pool:
        first, second = (Replica(catalogue, {**shared, **few}) for _ in range(2))
        list(pool.map(Replica.start, (first, second)))
        try:
            submit = lambda n: (first, second)[n % 2].submit(seed=n, num_inference_steps=20)  # noqa: E731
            ids = list(pool.map(submit, range(200)))
            wait_for(lambda: len(first.get("/api/jobs?status=completed&limit=100").json()["jobs"]) >= 20)
            second.kill()
            done = assert_done(first, ids)
        finally:
            first.stop()
            second.stop()
    again = sum(body["attempts"] > 1 for body in done)
    with capsys.disabled():
        print(f"re-executions: {again} of {len(ids)} jobs")  # noqa: T201, since the count is asked for
    assert len({body["result_url"] for body in done}) == len(ids)


def test_redis_may_restart(catalogue: Path, tmp_path: Path, redis: RedisServer) -> None:
    with replica(catalogue, **jobs_file(tmp_path), JUBAKO_REDIS_URL=redis.url, JUBAKO_JOB_REDELIVERY_S="2") as server:
        ids = [server.submit(seed=seed, num_inference_steps=100) for seed in range(20)]
        redis.stop()
        answer = WEB.post(f"{server.url}/api/tiny/t2i", json={"prompt": "a"}, timeout=60)
        assert answer.status_code == 503
        assert "Redis" in answer.json()["error"]
        assert server.get("/api/health").json()["redis"] == "disconnected"
        redis.start()
        assert_done(server, ids)
        assert server.get("/api/health").json()["status"] == "healthy"


def test_storage_may_be_away(catalogue: Path, tmp_path: Path) -> None:
    with object_store(tmp_path) as store:
        environment = {**store.environment, "JUBAKO_STORAGE": "", "JUBAKO_STORAGE_TIMEOUT_S": "2"}
        with replica(catalogue, JUBAKO_JOBS_FILE=str(tmp_path / "jobs.sqlite"), **environment) as server:
            ids = [server.submit(seed=seed, num_inference_steps=20) for seed in range(5)]
            store.stop()
            ids += [server.submit(seed=seed, num_inference_steps=20) for seed in range(5, 10)]
            away = time.monotonic()
            wait_for(lambda: server.get("/api/health").json()["storage"] == "disconnected")
            wait_for(lambda: any(server.status(i)["progress"] == 95 for i in ids))
            wait_for(lambda: time.monotonic() - away > 20)
            store.start()
            assert_done(server, ids)


def test_a_job_that_kills_the_runner_is_given_up(catalogue: Path, tmp_path: Path) -> None:
    with replica(catalogue, **jobs_file(tmp_path)) as server:
        poison = server.submit(num_inference_steps=900)
        for attempt in range(1, 4):
            wait_for(partial(_is_drawn, server, poison, attempt), END_TIMEOUT_S)
            os.kill(server.runner_pid(), signal.SIGKILL)
        (body,) = ends(server, [poison])
        assert body["status"] == "failed"
        assert "3 times the model's process ended" in body["error"]
        assert_done(server, [server.submit()])


def _is_drawn(server: Replica, session_id: str, attempt: int) -> bool:
    body = server.status(session_id)
    return bool(body["attempts"] == attempt and body["message"].startswith("Step"))


def test_high_priority_overtakes_a_backlog_and_low_still_advances(catalogue: Path, tmp_path: Path) -> None:
    few = {"JUBAKO_JOB_CONCURRENCY": "4", "JUBAKO_MAX_RUNNING": "4", "JUBAKO_BATCH_TOKENS": "256"}
    with replica(catalogue, **jobs_file(tmp_path), **few) as server:
        low = [server.submit(priority="low", num_inference_steps=60) for _ in range(30)]
        high = [server.submit(priority="high", num_inference_steps=60) for _ in range(5)]
        done = {body["session_id"]: body["finished_at"] for body in assert_done(server, low + high)}
    overtaken = sum(done[each] > max(done[h] for h in high) for each in low)
    assert overtaken >= 20, "most of the backlog came after"
