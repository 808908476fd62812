"""Several machines on one: network namespaces on a bridge of their own, apart from this machine's network."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SUBNET = "10.77.0"
"""Of private addresses; nobody outside the namespaces sees it."""
HUB = f"{SUBNET}.1"
_NEW_NETWORK = 0x40000000
"""CLONE_NEWNET of <sched.h>."""


def missing() -> str | None:
    """Say what namespaces need and this machine does not give, or None."""
    if shutil.which("ip") is None:
        return "`ip` is not there (Debian package iproute2)"
    name = f"jubako-try-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        return f"network namespaces are not permitted: {made.stderr.strip()}"
    _ip("netns", "del", name)
    return None


@dataclass(frozen=True)
class Machine:
    namespace: str
    address: str


@contextmanager
def network(names: Sequence[str]) -> Iterator[dict[str, Machine]]:
    """Yield a machine for each name, and one called `hub`; all of them reach each other."""
    of_run = f"jubako-{os.getpid()}"
    hub = Machine(f"{of_run}-hub", HUB)
    machines = {name: Machine(f"{of_run}-{name}", f"{SUBNET}.{10 + number}") for number, name in enumerate(names)}
    try:
        _ip("netns", "add", hub.namespace)
        _in(hub, "link", "add", "bridge", "type", "bridge")
        _in(hub, "addr", "add", f"{HUB}/24", "dev", "bridge")
        for device in ("lo", "bridge"):
            _in(hub, "link", "set", device, "up")
        for number, machine in enumerate(machines.values()):
            _plug_in(machine, hub, f"port{number}")
        yield {"hub": hub, **machines}
    finally:
        for machine in (*machines.values(), hub):
            _remove(machine)


def _plug_in(machine: Machine, hub: Machine, port: str) -> None:
    _ip("netns", "add", machine.namespace)
    _in(hub, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", machine.namespace)
    _in(hub, "link", "set", port, "master", "bridge", "up")
    _in(machine, "addr", "add", f"{machine.address}/24", "dev", "eth0")
    for device in ("lo", "eth0"):
        _in(machine, "link", "set", device, "up")


def _remove(machine: Machine) -> None:
    """End what still runs on it, and the machine; its cables go with it."""
    there = subprocess.run(["ip", "netns", "pids", machine.namespace], capture_output=True, text=True, check=False)
    for pid in there.stdout.split():
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    subprocess.run(["ip", "netns", "del", machine.namespace], capture_output=True, check=False)


def on(machine: Machine, work: Callable[[], T]) -> T:
    """Do work in a thread, whose connections, threads and processes are on the machine."""
    with ThreadPoolExecutor(1, initializer=lambda: enter(machine.namespace)) as pool:
        return pool.submit(work).result()


def enter(namespace: str) -> None:
    """Have this thread, and what it starts from now on, be on a network."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path("/run/netns", namespace).open() as file:
        if libc.setns(file.fileno(), _NEW_NETWORK) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")


def _in(machine: Machine, *words: str) -> None:
    _ip("-n", machine.namespace, *words)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
