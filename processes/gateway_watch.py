"""The other processes of a server: those that the gateway depends on end after it."""

from __future__ import annotations

import asyncio

import psutil

DEPENDENCY = "runner-"
"""The prefix of the names of all services on which the gateway depends."""
LOOK_S = 0.2


async def gateway_ended() -> None:
    """Return once the gateway that was started beside this process has ended; at once if there is none."""
    gateway = _gateway()
    while gateway is not None and _lives(gateway):  # noqa: ASYNC110, since nothing signals it
        await asyncio.sleep(LOOK_S)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _gateway() -> psutil.Process | None:
    supervisor = psutil.Process().parent()
    siblings = [] if supervisor is None else supervisor.children()
    return next((process for process in siblings if _is_gateway(process)), None)


def _is_gateway(process: psutil.Process) -> bool:
    try:
        words = process.cmdline()
    except psutil.Error:
        return False
    # The command line with which `bentoml serve` starts its processes.
    return "--service-name" in words and not words[words.index("--service-name") + 1].startswith(DEPENDENCY)
