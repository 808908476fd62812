"""The end of tasks that talk to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN_S = 1.0
"""After which a task that has not ended is told again."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return once they have ended, whatever they raise.

    A cancellation that meets a call of redis-py 8.1 is mostly lost (docs/log.md), and the task goes on.
    """
    left = all_of_them = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
    await asyncio.gather(*all_of_them, return_exceptions=True)
