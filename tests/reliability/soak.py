"""A server in steady use for hours: its memory, open files and latency over time.

`make soak` runs it for two hours, or as long as `ARGS="--minutes N"` says; docs/reliability.md has its figures. It ends
with 1 when requests fail or go without an answer, or when the last quarter takes more than the second one: memory, open
files, or time. (The first quarter fills caches.)
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from statistics import fmean

import numpy as np

from tests.reliability.callers import ANSWERED, Order, ask, orders, shown, submit, wait_for_end
from tests.reliability.footprint import Footprint
from tests.reliability.verdict import end_with
from tests.support.servers.replica import Replica, replica
from tests.support.servers.serving import FRESH
from tests.support.storyboard.stories import write_story_catalogue

CALLERS = 6
JOB_OWNERS = 2
GROWTH_MIB = 60.0
GROWTH_FILES = 20
SLOWER = 1.5
"""Times that the last quarter's 95th percentile may be the second's; a machine that does other work varies."""
JOB_END_S = 300.0


@dataclass(frozen=True)
class Minute:
    """What one interval was like; by default one minute."""

    footprint: Footprint
    answers: int
    p50_s: float
    p95_s: float

    def __str__(self) -> str:
        return f"{self.answers} answers, p50 {self.p50_s:.2f} s, p95 {self.p95_s:.2f} s; {self.footprint}"


class Users:
    """Everybody who uses the server, from threads of their own, until `stop`."""

    def __init__(self, server: Replica) -> None:
        self._server = server
        self._numbers = count(1)
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._latencies_s: list[float] = []
        self.ends: Counter[str] = Counter()

    def call(self) -> None:
        """Ask for images by all contracts, one after the other."""
        while not self._stopped.is_set():
            started_s = time.monotonic()
            end = ask(self._server.url, next(self._numbers))
            with self._lock:
                self._latencies_s.append(time.monotonic() - started_s)
                self.ends[end] += 1

    def own_jobs(self, seed: int) -> None:
        """Submit jobs, and wait for each."""
        for order in self._orders(seed):
            until_s = time.monotonic() + JOB_END_S
            session_id = submit(self._server.url, order, until_s)
            end = session_id and wait_for_end(self._server.url, session_id, until_s)
            with self._lock:
                self.ends[f"job {end['status'] if isinstance(end, dict) else 'without an end'}"] += 1

    def _orders(self, seed: int) -> Iterator[Order]:
        for part in count(seed * 1000):
            for order in orders(part, 50):
                if self._stopped.is_set():
                    return
                yield order

    def stop(self) -> None:
        self._stopped.set()

    def minute(self, seconds: float) -> Minute:
        """Watch them for a while."""
        with self._lock:
            self._latencies_s.clear()
        time.sleep(seconds)
        with self._lock:
            latencies_s = list(self._latencies_s)
        p50_s, p95_s = np.percentile(latencies_s, [50, 95]) if latencies_s else (np.inf, np.inf)
        return Minute(Footprint.of(self._server.pid), len(latencies_s), float(p50_s), float(p95_s))


def run(minutes: int, interval_s: float) -> tuple[list[Minute], Counter[str]]:
    """Use a server for so long."""
    with (
        tempfile.TemporaryDirectory() as folder,
        replica(write_story_catalogue(Path(folder)), "service:Jubako", FRESH, JUBAKO_RESULT_TTL_S="600") as server,
        ThreadPoolExecutor(CALLERS + JOB_OWNERS) as threads,
    ):
        users = Users(server)
        using = [threads.submit(users.call) for _ in range(CALLERS)]
        using += [threads.submit(users.own_jobs, seed) for seed in range(1, JOB_OWNERS + 1)]
        seen = []
        try:
            for number in range(round(minutes * 60 / interval_s)):
                seen.append(users.minute(interval_s))
                print(f"{(number + 1) * interval_s / 60:6.1f} min: {seen[-1]}", flush=True)
        finally:
            users.stop()
        for each in using:
            each.result()
        return seen, users.ends


def faults_of(seen: Sequence[Minute], ends: Counter[str]) -> Iterator[str]:
    """Compare the second quarter with the last one."""
    quarter = len(seen) // 4
    second, last = seen[quarter : 2 * quarter], seen[-quarter:]
    for end, number in ends.items():
        if end not in (ANSWERED, "job completed"):
            yield f"{number} times: {end}"
    if quarter:
        yield from _growth(second, last)


def _growth(second: Sequence[Minute], last: Sequence[Minute]) -> Iterator[str]:
    def mean(part: Sequence[Minute], what: str) -> float:
        return fmean(getattr(minute.footprint, what) for minute in part)

    if mean(last, "all_mib") > mean(second, "all_mib") + GROWTH_MIB:
        yield f"memory grew from {mean(second, 'all_mib'):.0f} to {mean(last, 'all_mib'):.0f} MiB"
    if mean(last, "open_files") > mean(second, "open_files") + GROWTH_FILES:
        yield f"open files grew from {mean(second, 'open_files'):.0f} to {mean(last, 'open_files'):.0f}"
    early, late = (fmean(minute.p95_s for minute in part) for part in (second, last))
    if late > SLOWER * early:
        yield f"the 95th percentile grew from {early:.2f} to {late:.2f} s"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=int, default=120)
    parser.add_argument("--interval", type=float, default=60.0, help="seconds between two lines")
    options = parser.parse_args()
    seen, ends = run(options.minutes, options.interval)
    print(f"{options.minutes} min: {shown(ends)}")
    end_with(seen[0].footprint, seen[-1].footprint, list(faults_of(seen, ends)))


if __name__ == "__main__":
    main()
