"""Two gateways and two runners on machines of their own share Redis and storage; one of each may be lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.servers.forked import preload
from tests.support.servers.process_tree import started_by
from tests.support.servers.replica import Replica
from tests.support.servers.serving import wait_for, write_tiny_catalogue
from tests.support.surroundings.network import Machine, missing, network, on
from tests.support.surroundings.object_store import ObjectStore
from tests.support.surroundings.redis_server import RedisServer
from tests.support.web import WEB

KEY = "a key that runners share"
JOBS = 24
END_S = 120.0
GATEWAYS = ("gateway-a", "gateway-b")
RUNNERS = ("runner-a", "runner-b")


@pytest.fixture
def machines() -> Iterator[Mapping[str, Machine]]:
    if (reason := missing()) is not None:
        pytest.skip(f"scale-out is not tested: {reason}")
    preload()
    with network([*GATEWAYS, *RUNNERS]) as machines:
        yield machines


def test_one_gateway_and_one_runner_may_be_lost(machines: Mapping[str, Machine], tmp_path: Path) -> None:
    on(machines["hub"], lambda: _everything(machines, tmp_path))


def _everything(machines: Mapping[str, Machine], folder: Path) -> None:
    hub = machines["hub"]
    catalogue = write_tiny_catalogue(folder)
    redis = RedisServer(_made(folder / "redis"), port=6379, host=hub.address)
    store = ObjectStore(_made(folder / "store"), port=9000, host=hub.address)
    shared = {
        "JUBAKO_RUNNER_KEY": KEY,
        "JUBAKO_REDIS_URL": redis.url,
        "JUBAKO_JOB_REDELIVERY_S": "2",
        **store.environment,
        "JUBAKO_STORAGE": "",
    }
    urls = "|".join(f"http://{machines[name].address}:{_port(name)}" for name in RUNNERS)
    pool = {"JUBAKO_RUNNERS": f"tiny={urls}"}
    servers = {
        name: Replica(
            catalogue,
            {**shared, **(pool if name in GATEWAYS else {})},
            port=_port(name),
            service="service:Jubako" if name in GATEWAYS else "runners.alone:service",
            host=machines[name].address,
            namespace=machines[name].namespace,
        )
        for name in (*GATEWAYS, *RUNNERS)
    }
    with redis.running(), store.running(), ThreadPoolExecutor() as threads:
        try:
            list(threads.map(Replica.start, servers.values()))
            _survives(servers, threads)
        finally:
            for server in servers.values():
                server.kill()


def _survives(servers: Mapping[str, Replica], threads: ThreadPoolExecutor) -> None:
    kept, lost = (servers[name] for name in GATEWAYS)
    wait_for(lambda: _runners_ready(kept) == _runners_ready(lost) == 2)
    for gateway in (kept, lost):
        assert [_drawn(gateway, seed) for seed in range(2)] == [200, 200]
        assert started_by(gateway.pid, lambda command: "runner-tiny" in command) == []
    submit = lambda n: (kept, lost)[n % 2].submit(seed=n, num_inference_steps=60)  # noqa: E731
    ids = list(threads.map(submit, range(JOBS)))
    wait_for(lambda: any(kept.status(i)["status"] == "completed" for i in ids), END_S)
    lost.kill()
    servers["runner-b"].kill()
    assert [_drawn(kept, seed) for seed in range(10, 14)] == [200] * 4
    servers["runner-b"].begin()
    wait_for(lambda: all(kept.status(i)["status"] == "completed" for i in ids), END_S)
    results = {kept.status(i)["result_url"] for i in ids}
    assert len(results) == JOBS
    assert {WEB.get(url).status_code for url in results} == {200}
    # What was lost comes back, and is used again without a word from anybody.
    wait_for(lambda: _runners_ready(kept) == 2, END_S)


def _drawn(gateway: Replica, seed: int) -> int:
    body = {"prompt": "a red apple", "num_inference_steps": 4, "seed": seed}
    return WEB.post(f"{gateway.url}/text_to_image", json=body, timeout=60).status_code


def _runners_ready(gateway: Replica) -> int:
    (model,) = gateway.get("/health").json()["models"]
    return sum(runner["state"] == "ready" for runner in model["runners"])


def _port(name: str) -> int:
    """Each its own, since it names a server's files too."""
    return 3001 + [*GATEWAYS, *RUNNERS].index(name)


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
