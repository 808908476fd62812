"""Jobs and interactive requests while everything that a server consists of is killed or stalled.

`make chaos` runs it, for some minutes; docs/reliability.md has its figures. It ends with 1 when a promise is broken:

- every accepted job ends, once: its final record never changes, and a completed one has all its results;
- interactive requests end with an answer or an error that says so;
- afterwards nothing is left running, and memory and open files are what they were.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.reliability.callers import ANSWERED, NO_ANSWER, Order, ask, orders, shown, submit, wait_for_end
from tests.reliability.disturbances import Disturbances
from tests.reliability.footprint import Footprint
from tests.reliability.verdict import end_with
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import FRESH, wait_for
from tests.support.storyboard.stories import write_story_catalogue
from tests.support.surroundings.object_store import object_store
from tests.support.surroundings.redis_server import redis_server
from tests.support.web import WEB

CALLERS = 12
"""Threads that submit jobs, and as many that wait for answers."""
JOBS_END_S = 600.0
QUIET_S = 120.0
"""How long what is left may take to end once all callers have their answers."""
GROWTH_FILES = 40
"""Connections that are kept open."""


@dataclass(frozen=True)
class Outcome:
    jobs: Counter[str]
    interactive: Counter[str]
    disturbances: Counter[str]
    before: Footprint
    after: Footprint
    faults: list[str]


def run(seed: int, jobs: int, requests: int) -> Outcome:
    """Disturb a server that has this much to do."""
    with tempfile.TemporaryDirectory() as folder, _cluster(Path(folder)) as (server, disturbances):
        disturbances.seed = seed
        _use_everything(server)
        before = Footprint.of(server.pid)
        until_s = time.monotonic() + JOBS_END_S
        wanted = orders(seed, jobs)
        with ThreadPoolExecutor(CALLERS) as owners, ThreadPoolExecutor(CALLERS) as callers, disturbances.happening():
            submitted = list(owners.map(partial(submit, server.url, until_s=until_s), wanted))
            asked = [callers.submit(ask, server.url, number) for number in range(requests)]
            interactive = Counter(future.result() for future in asked)
            pairs = list(zip(wanted, submitted, strict=True))
            accepted = [(order, session_id) for order, session_id in pairs if session_id is not None]
            for _, session_id in accepted[: len(accepted) // 2]:
                wait_for_end(server.url, session_id, until_s)
        with ThreadPoolExecutor(CALLERS) as owners:
            ends = list(owners.map(lambda each: wait_for_end(server.url, each[1], until_s), accepted))
        faults = [f"job {order.number} was never accepted" for order, session_id in pairs if session_id is None]
        faults += list(_faults_of_jobs(server, accepted, ends))
        faults += ["an interactive request got no answer"] * interactive[NO_ANSWER]
        faults += list(_left_running(server))
        after = _settled(server, before)
        faults += list(_growth(before, after))
    states = Counter("never ended" if end is None else str(end["status"]) for end in ends)
    return Outcome(states, interactive, disturbances.tally, before, after, faults)


@contextmanager
def _cluster(folder: Path) -> Iterator[tuple[Replica, Disturbances]]:
    """Serve `tiny` with Redis and S3."""
    catalogue = write_story_catalogue(folder)
    with redis_server(folder) as redis, object_store(folder) as store:
        environment = {
            "JUBAKO_REDIS_URL": redis.url,
            "JUBAKO_JOB_REDELIVERY_S": "2",
            "JUBAKO_MAX_JOBS_PER_CALLER": "1000",
            **store.environment,
            "JUBAKO_STORAGE": "",
            "JUBAKO_STORAGE_TIMEOUT_S": "2",
        }
        with replica(catalogue, "service:Jubako", FRESH, **environment) as server:
            yield server, Disturbances(server, redis, store, seed=0)


def _use_everything(server: Replica) -> None:
    """Have every process and library loaded, so that the first footprint is that of a server in use."""
    until_s = time.monotonic() + JOBS_END_S
    for number in range(8):
        assert ask(server.url, number) == ANSWERED
    for order in orders(seed=0, count=30):
        session_id = submit(server.url, order, until_s)
        assert session_id is not None
        wait_for_end(server.url, session_id, until_s)
    wait_for(lambda: _running(server) == 0)


def _faults_of_jobs(
    server: Replica, accepted: list[tuple[Order, str]], ends: list[dict[str, Any] | None]
) -> Iterator[str]:
    for (order, session_id), end in zip(accepted, ends, strict=True):
        if end is None:
            yield f"job {order.number} did not end"
            continue
        if end["status"] == "completed" and len(end["results"]) != order.results:
            yield f"job {order.number} has {len(end['results'])} of {order.results} results"
        if end["status"] != "completed" and not end["error"]:
            yield f"job {order.number} is {end['status']} without a reason"
        if (now := server.status(session_id)) != end and _without_addresses(now) != _without_addresses(end):
            yield f"job {order.number} changed after its end"
    ids = [session_id for _, session_id in accepted]
    if len(set(ids)) != len(ids):
        yield "two orders are one job"


def _without_addresses(body: dict[str, Any]) -> dict[str, Any]:
    """Signed addresses of results are new each time."""
    return {**body, "result_url": None, "results": [{**each, "url": None} for each in body["results"]]}


def _left_running(server: Replica) -> Iterator[str]:
    try:
        wait_for(lambda: _running(server) == 0, QUIET_S)
    except AssertionError:
        yield f"{_running(server)} requests are still running"


def _running(server: Replica) -> int:
    (model,) = WEB.get(f"{server.url}/health").json()["models"]
    return int(model["running"]) + int(model["queued"])


def _settled(server: Replica, before: Footprint) -> Footprint:
    """Return the footprint once it is what it was, or does not become it: idle connections are closed after a while."""
    with suppress(AssertionError):
        wait_for(lambda: not list(_growth(before, Footprint.of(server.pid))), QUIET_S)
    return Footprint.of(server.pid)


def _growth(before: Footprint, after: Footprint) -> Iterator[str]:
    yield from before.growth_to(after)
    if after.open_files > before.open_files + GROWTH_FILES:
        yield f"open files grew from {before.open_files} to {after.open_files}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    started_s = time.monotonic()
    outcome = run(options.seed, options.jobs, options.requests)
    print(f"seed {options.seed}, {time.monotonic() - started_s:.0f} s")
    print(f"disturbances: {shown(outcome.disturbances)}")
    print(f"jobs: {shown(outcome.jobs)}")
    print(f"interactive requests: {shown(outcome.interactive)}")
    end_with(outcome.before, outcome.after, outcome.faults)


if __name__ == "__main__":
    main()
