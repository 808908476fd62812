"""What goes wrong while a server works: processes are killed, Redis and storage stall, whenever a seed says."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.reliability.footprint import service_pid
from tests.support.servers.replica import Replica
from tests.support.surroundings.object_store import ObjectStore
from tests.support.surroundings.redis_server import RedisServer

MEAN_PAUSE_S = 5.0
"""A runner that is killed is back after some 10 s."""
STALL_S = (1.0, 6.0)
SERVICES = {"gateway": "jubako", "runner": "runner-tiny", "scorer": "runner-scorer"}


@dataclass
class Disturbances:
    """One disturbance after another while `happening` lasts, and a tally of them."""

    server: Replica
    redis: RedisServer
    store: ObjectStore
    seed: int
    tally: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def happening(self) -> Iterator[None]:
        """Disturb until the block ends; whatever was stopped goes on then."""
        over = threading.Event()
        thread = threading.Thread(target=self._disturb, args=(over,))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _disturb(self, over: threading.Event) -> None:
        chance = random.Random(self.seed)
        kinds = self._kinds()
        while not over.wait(chance.expovariate(1 / MEAN_PAUSE_S)):
            kind = chance.choice(sorted(kinds))
            kinds[kind](chance.uniform(*STALL_S))
            self.tally[kind] += 1

    def _kinds(self) -> Mapping[str, Callable[[float], None]]:
        def killing(service: str) -> Callable[[float], None]:
            return lambda _: self._kill(service)

        return {
            **{f"{name} killed": killing(service) for name, service in SERVICES.items()},
            "Redis killed": self._restart_redis,
            "Redis stalled": lambda seconds: _stall(self.redis.pid, seconds),
            "storage stalled": lambda seconds: _stall(self.store.pid, seconds),
        }

    def _kill(self, service: str) -> None:
        # There is none while a killed one is being started again.
        if (pid := service_pid(self.server.pid, service)) is not None:
            os.kill(pid, signal.SIGKILL)

    def _restart_redis(self, seconds: float) -> None:
        self.redis.stop()
        time.sleep(seconds)
        self.redis.start()


def _stall(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)
