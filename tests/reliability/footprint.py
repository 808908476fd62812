"""What a server takes of its machine, before and after."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import psutil

MIB = 2**20
GROWTH_MIB = 150.0
"""Processes that were started again weigh a little more or less."""


@dataclass(frozen=True)
class Footprint:
    """Of all processes of one server."""

    memory_mib: float
    """Not shared with others (USS)."""
    open_files: int
    processes: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Look at the server whose supervisor has this process id."""
        supervisor = psutil.Process(pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        memory_bytes = sum(process.memory_full_info().uss for process in family)
        return cls(memory_bytes / MIB, sum(process.num_fds() for process in family), len(family))

    def growth_to(self, after: Footprint) -> Iterator[str]:
        """Say what is no longer as it was: memory, and the number of processes."""
        if after.memory_mib > self.memory_mib + GROWTH_MIB:
            yield f"memory grew from {self.memory_mib:.0f} to {after.memory_mib:.0f} MiB"
        if after.processes != self.processes:
            yield f"there were {self.processes} processes, and are {after.processes}"

    def __str__(self) -> str:
        return f"{self.memory_mib:.0f} MiB, {self.open_files} open files, {self.processes} processes"


def service_pid(supervisor_pid: int, service: str) -> int | None:
    """Return the process of a service of a server, by the beginning of its name; None while there is none."""
    for process in psutil.Process(supervisor_pid).children(recursive=True):
        try:
            words = process.cmdline()
        except psutil.Error:
            continue
        if "--service-name" in words and words[words.index("--service-name") + 1].startswith(service):
            return int(process.pid)
    return None
