"""What a server takes of its machine, before and after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import psutil

MIB = 2**20
GROWTH_MIB = 150.0
"""Processes that were started again weigh a little more or less."""


@dataclass(frozen=True)
class Footprint:
    """Of all processes of one server."""

    memory_mib: Mapping[str, float]
    """Of each process, not shared with others (USS)."""
    open_files: int
    processes: int

    @classmethod
    def of(cls, pid: int) -> Footprint:
        """Look at the server whose supervisor has this process id."""
        supervisor = psutil.Process(pid)
        family = [supervisor, *supervisor.children(recursive=True)]
        memory_mib = {_name(process): process.memory_full_info().uss / MIB for process in family}
        return cls(memory_mib, sum(process.num_fds() for process in family), len(family))

    @property
    def all_mib(self) -> float:
        return sum(self.memory_mib.values())

    def growth_to(self, after: Footprint) -> Iterator[str]:
        """Say what is no longer as it was: memory, and the number of processes."""
        if after.all_mib > self.all_mib + GROWTH_MIB:
            yield f"memory grew from {self.all_mib:.0f} to {after.all_mib:.0f} MiB"
        if after.processes != self.processes:
            yield f"there were {self.processes} processes, and are {after.processes}"

    def __str__(self) -> str:
        each = ", ".join(f"{name} {memory_mib:.0f}" for name, memory_mib in self.memory_mib.items())
        return f"{self.all_mib:.0f} MiB ({each}), {self.open_files} open files, {self.processes} processes"


def _name(process: psutil.Process) -> str:
    """The service of a process, or `supervisor`."""
    words = process.cmdline()
    place = words.index("--service-name") + 1 if "--service-name" in words else None
    return "supervisor" if place is None else words[place]


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
