"""Tasks end although a cancellation may be lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from jobs import ending


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)


async def deaf(times: int) -> None:
    """Go on after so many cancellations."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def failing() -> None:
    raise ConnectionError


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_that_loses_a_cancellation_is_told_again(times: int) -> None:
    tasks = [asyncio.create_task(deaf(times)), asyncio.create_task(deaf(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await ending.end(tasks)
    assert all(task.cancelled() for task in tasks)


async def test_what_a_task_raises_is_nobodys_business_any_more() -> None:
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await ending.end([task])
    assert isinstance(task.exception(), ConnectionError)


async def test_nothing_to_end() -> None:
    await ending.end([])
