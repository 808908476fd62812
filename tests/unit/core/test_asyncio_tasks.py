"""Tasks race each other, and end although a cancellation may be lost."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

import pytest

from core import asyncio_tasks


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio_tasks, "CANCEL_AGAIN_S", 0.01)


async def deaf(times: int) -> None:
    """Go on after so many cancellations."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
    await asyncio.Event().wait()


async def failing() -> None:
    raise ConnectionError


@pytest.mark.parametrize("times", [0, 1, 3])
async def test_a_task_that_loses_a_cancellation_is_cancelled_again(times: int) -> None:
    both = [asyncio.create_task(deaf(times)), asyncio.create_task(deaf(0))]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await asyncio_tasks.end(both)
    assert all(task.cancelled() for task in both)


async def test_what_a_task_raises_is_nobodys_business_any_more() -> None:
    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await asyncio_tasks.end([task])
    assert isinstance(task.exception(), ConnectionError)


async def test_nothing_to_end() -> None:
    await asyncio_tasks.end([])


class Interrupted(Exception):
    pass


async def result() -> int:
    await asyncio.sleep(0)
    return 7


async def test_work_that_is_faster_than_the_signal_returns_its_result() -> None:
    assert await asyncio_tasks.first_of(result(), deaf(1), Interrupted()) == 7
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_signal_interrupts_the_work() -> None:
    with pytest.raises(Interrupted):
        await asyncio_tasks.first_of(deaf(1), result(), Interrupted())
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ConnectionError):
        await asyncio_tasks.first_of(failing(), deaf(0), Interrupted())


async def test_all_return_in_their_order() -> None:
    assert await asyncio_tasks.all_of([slowly(result()), result()]) == [8, 7]


async def slowly(work: Coroutine[Any, Any, int]) -> int:
    for _ in range(3):
        await asyncio.sleep(0)
    return 1 + await work


async def test_the_first_error_is_raised_itself_and_the_others_are_cancelled() -> None:
    with pytest.raises(ConnectionError):
        await asyncio_tasks.all_of([deaf(0), failing(), deaf(0)])
    assert asyncio.all_tasks() == {asyncio.current_task()}
