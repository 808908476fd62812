"""Two replicas of one model on this CPU, from their start to an orderly end: one server, one test, since it ends it."""

from __future__ import annotations

import os
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.servers.process_tree import started_by
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import wait_for
from tests.support.web import WEB

CORES = len(os.sched_getaffinity(0))
SETTINGS = {"JUBAKO_MODELS": "miniature", "JUBAKO_REPLICAS": "auto", "JUBAKO_DEVICE": "cpu:2"}
LONG_STEPS = 60
"""Of a picture that takes a second or two."""


@pytest.mark.skipif(CORES < 2, reason="two replicas need two cores")
def test_two_replicas_share_requests_and_outlive_each_other(tmp_path: Path) -> None:
    catalogue = tmp_path / "catalogue.yaml"
    catalogue.write_text("_none: {}")
    with replica(catalogue, **SETTINGS) as server, ThreadPoolExecutor(2) as threads:
        wait_for(lambda: ready(server) == [1, 2])
        each_has_cores_and_threads_of_its_own(server)
        both_are_unloaded_and_loaded_and_neither_moves(server)
        one_that_is_killed_leaves_its_requests_to_the_other_and_returns(server, threads)
        each_has_its_own_figures(server)
        what_both_have_in_hand_is_finished_at_the_end(server, threads)


def each_has_cores_and_threads_of_its_own(server: Replica) -> None:
    first, second = (cores_of_threads(process) for process in processes(server))
    assert not first & second
    assert len(first | second) == CORES


def cores_of_threads(process: psutil.Process) -> set[int]:
    """The cores that any of its threads may use, those that torch has started among them."""
    cores: set[int] = set()
    for thread in process.threads():
        # It may have ended since.
        with suppress(ProcessLookupError):
            cores |= os.sched_getaffinity(thread.id)
    return cores


def both_are_unloaded_and_loaded_and_neither_moves(server: Replica) -> None:
    assert WEB.post(f"{server.url}/models/miniature/unload").json()["state"] == "unloaded"
    assert ready(server) == []
    WEB.post(f"{server.url}/models/miniature/load")
    wait_for(lambda: ready(server) == [1, 2])
    refused = WEB.post(f"{server.url}/models/miniature/load", json={"device": "cpu"})
    assert refused.status_code == 400
    assert "miniature has 2 replicas" in refused.text


def one_that_is_killed_leaves_its_requests_to_the_other_and_returns(
    server: Replica, threads: ThreadPoolExecutor
) -> None:
    going = drawing_on_both(server, threads)
    killed = processes(server)[0]
    killed.kill()
    # What it had begun is begun again with the other one, and no caller notices.
    assert [each.result() for each in going] == [200] * len(going)
    wait_for(lambda: ready(server) == [1, 2])
    assert len(processes(server)) == 2
    assert killed not in processes(server)


def each_has_its_own_figures(server: Replica) -> None:
    ready = [f'jubako_model_ready{{device="cpu",model="miniature",replica="{number}"}} 1.0' for number in (1, 2)]
    # Processes look at themselves every few seconds.
    wait_for(lambda: all(line in server.get("/metrics").text for line in ready))
    # The first one has been restarted, and has generated nothing since.
    assert 'jubako_images_total{model="miniature",replica="2",task="text-to-image"}' in server.get("/metrics").text


def what_both_have_in_hand_is_finished_at_the_end(server: Replica, threads: ThreadPoolExecutor) -> None:
    going = drawing_on_both(server, threads)
    server.ask_to_stop()
    assert [each.result() for each in going] == [200] * len(going)
    assert server.stopped() == 0


def drawing_on_both(server: Replica, threads: ThreadPoolExecutor) -> list[Future[int]]:
    while True:
        going = [threads.submit(drawn, server, seed) for seed in range(2)]
        wait_for(partial(both_are_busy_or_one_is_done, server, going))
        if not any(each.done() for each in going):
            return going
        # One was done before the other had begun, or before anybody looked.
        assert [each.result() for each in going] == [200] * len(going)


def both_are_busy_or_one_is_done(server: Replica, going: list[Future[int]]) -> bool:
    return [one["running"] for one in replicas(server)] == [1, 1] or any(each.done() for each in going)


def drawn(server: Replica, seed: int) -> int:
    body = {"prompt": "a red apple", "num_inference_steps": LONG_STEPS, "seed": seed}
    return WEB.post(f"{server.url}/text_to_image", json=body).status_code


def replicas(server: Replica) -> list[dict[str, Any]]:
    (model,) = server.get("/health").json()["models"]
    return list(model["runners"])


def ready(server: Replica) -> list[int]:
    return [one["replica"] for one in replicas(server) if one["state"] == "ready"]


def processes(server: Replica) -> list[psutil.Process]:
    return started_by(server.pid, lambda command: any(word.startswith("runner-miniature") for word in command))
