"""Nothing that was accepted is lost: processes are killed, Redis and storage go away, and every job still ends."""

from __future__ import annotations

import os
import signal
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import photo, png, wait_for
from tests.support.storyboard.stories import write_story_catalogue
from tests.support.surroundings.object_store import ObjectStore, object_store
from tests.support.surroundings.redis_server import RedisServer, redis_server
from tests.support.web import WEB

FINAL = ("completed", "failed", "cancelled")
END_TIMEOUT_S = 200.0
SLOWED = {"JUBAKO_JOB_CONCURRENCY": "4", "JUBAKO_MAX_RUNNING": "4", "JUBAKO_BATCH_TOKENS": "256"}
STORY = "Aldar Kose tricks a merchant and steals his horse"


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_story_catalogue(tmp_path_factory.mktemp("durability"))


@pytest.fixture(scope="module")
def server(catalogue: Path) -> Iterator[Replica]:
    """By itself, with the embedded ledger and a folder; each test leaves it serving."""
    folder = catalogue.parent
    files = {"JUBAKO_JOBS_FILE": str(folder / "jobs.sqlite"), "JUBAKO_STORAGE": str(folder / "files")}
    # The path of a socket must be short.
    with (
        TemporaryDirectory(prefix="j") as temporary,
        replica(catalogue, JUBAKO_MODELS="tiny,tiny-xl", TMPDIR=temporary, **files, **SLOWED) as server,
    ):
        yield server
        # Here, since no test could use it afterwards.
        _assert_ends_without_its_supervisor(server)


def _assert_ends_without_its_supervisor(server: Replica) -> None:
    others = psutil.Process(server.pid).children(recursive=True)
    server.ask_to_stop(signal.SIGKILL)
    assert psutil.wait_procs(others, timeout=60)[1] == []


def sockets_of(server: Replica) -> set[Path]:
    return set(Path(server.environment["TMPDIR"]).glob("bentoml-uds-*"))


@dataclass(frozen=True)
class Cluster:
    """Two servers that share Redis and S3. The first serves to the end; the second may be gone after a test."""

    first: Replica
    second: Replica
    redis: RedisServer
    store: ObjectStore


@pytest.fixture(scope="module")
def cluster(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("cluster")
    with redis_server(folder) as redis, object_store(folder) as store, ThreadPoolExecutor() as pool:
        shared = {
            "JUBAKO_REDIS_URL": redis.url,
            "JUBAKO_JOB_REDELIVERY_S": "2",
            "JUBAKO_JOB_CONCURRENCY": "8",
            "JUBAKO_MAX_JOBS_PER_CALLER": "1000",
            **store.environment,
            "JUBAKO_STORAGE": "",
            "JUBAKO_STORAGE_TIMEOUT_S": "2",
        }
        first, second = (Replica(catalogue, shared) for _ in range(2))
        try:
            list(pool.map(Replica.start, (first, second)))
            yield Cluster(first, second, redis, store)
        finally:
            first.stop()
            second.stop()


def ends(server: Replica, ids: list[str]) -> list[dict[str, Any]]:
    """Wait until every job has ended; return how each did."""
    waiting = list(ids)

    def all_ended() -> bool:
        # While Redis is coming up, there is an error in place of a status.
        while waiting and server.status(waiting[-1]).get("status") in FINAL:
            waiting.pop()
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


def test_a_killed_and_restarted_server_finishes_its_jobs(server: Replica) -> None:
    """Images, a storyboard, and the run of the pipeline's contract."""
    ids = [server.submit(seed=seed, num_inference_steps=50) for seed in range(10)]
    started = WEB.post(f"{server.url}/pipeline/run", json={"prompt": "a red apple"}).json()
    assert started["status"] == "success"
    story = submit_story(server)
    wait_for(lambda: server.status(ids[0])["progress"] > 10 and server.status(story)["progress"] > 0)
    left = sockets_of(server)
    server.kill()
    server.start()
    assert len(sockets_of(server)) == len(left) == 1
    assert left.isdisjoint(sockets_of(server))
    done = assert_done(server, ids)
    assert max(body["attempts"] for body in done) == 2
    wait_for(lambda: not server.get("/pipeline/status").json()["running"])
    assert server.get("/pipeline/status").json()["completed"]
    assert server.get("/pipeline/image").status_code == 200
    (status,) = ends(server, [story])
    assert (status["status"], status["attempts"], len(status["results"])) == ("completed", 2, 8)
    board = WEB.get(status["result_url"]).json()
    assert (board["mode"], board["num_frames"]) == ("ref_guided", 6)


def submit_story(server: Replica) -> str:
    fields = {"num_frames": 6, "num_inference_steps": 30, "max_tries": 1, "priority": "high"}
    reference = b64encode(png(photo())).decode()
    answer = WEB.post(
        f"{server.url}/api/tiny-xl/storyboard", json={"prompt": STORY, "reference_image": reference, **fields}
    )
    assert answer.status_code == 200, answer.text
    session_id: str = answer.json()["session_id"]
    return session_id


def test_a_job_that_kills_the_runner_is_given_up(server: Replica) -> None:
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


def test_high_priority_overtakes_a_backlog_and_low_still_advances(server: Replica) -> None:
    with server.runner_stopped():
        low = [server.submit(priority="low", num_inference_steps=30) for _ in range(30)]
        high = [server.submit(priority="high", num_inference_steps=30) for _ in range(5)]
    done = {body["session_id"]: body["finished_at"] for body in assert_done(server, low + high)}
    overtaken = sum(done[each] > max(done[h] for h in high) for each in low)
    assert overtaken >= 20, "most of the backlog came after"


def test_one_of_two_replicas_dies_and_nothing_is_lost(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = cluster.first, cluster.second
    submit = lambda n: (first, second)[n % 2].submit(seed=n, num_inference_steps=8)  # noqa: E731
    with ThreadPoolExecutor() as pool:
        ids = list(pool.map(submit, range(100)))
    wait_for(lambda: len(first.get("/api/jobs?status=completed&limit=100").json()["jobs"]) >= 10)
    second.kill()
    done = assert_done(first, ids)
    again = sum(body["attempts"] > 1 for body in done)
    with capsys.disabled():
        print(f"re-executions: {again} of {len(ids)} jobs")  # noqa: T201, since the count is asked for
    assert len({body["result_url"] for body in done}) == len(ids)


def test_redis_may_restart(cluster: Cluster) -> None:
    server = cluster.first
    ids = [server.submit(seed=1000 + seed, num_inference_steps=40) for seed in range(10)]
    cluster.redis.stop()
    answer = WEB.post(f"{server.url}/api/tiny/t2i", json={"prompt": "a"}, timeout=60)
    assert answer.status_code == 503
    assert "Redis" in answer.json()["error"]
    assert server.get("/api/health").json()["redis"] == "disconnected"
    cluster.redis.start()
    assert_done(server, ids)
    wait_for(lambda: server.get("/api/health").json()["status"] == "healthy")


def test_storage_may_be_away(cluster: Cluster) -> None:
    server = cluster.first
    ids = [server.submit(seed=2000 + seed, num_inference_steps=20) for seed in range(5)]
    cluster.store.stop()
    ids += [server.submit(seed=2000 + seed, num_inference_steps=20) for seed in range(5, 10)]
    away = time.monotonic()
    wait_for(lambda: server.get("/api/health").json()["storage"] == "disconnected")
    wait_for(lambda: any(server.status(i)["progress"] == 95 for i in ids))
    wait_for(lambda: time.monotonic() - away > 20)
    cluster.store.start()
    assert_done(server, ids)
