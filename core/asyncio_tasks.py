"""Racing tasks, and making sure that tasks have ended."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")

CANCEL_AGAIN_S = 1.0


async def first_of(work: Coroutine[Any, Any, T], signal: Coroutine[Any, Any, object], interrupted: Exception) -> T:
    """Return what `work` returns; raise `interrupted` if `signal` returns first. Both have ended then."""
    working, signalling = asyncio.ensure_future(work), asyncio.ensure_future(signal)
    try:
        await asyncio.wait({working, signalling}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise interrupted
        return working.result()
    finally:
        await end((working, signalling))


async def all_of(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Return all results in order. If one raises, cancel the others and raise its error once they have ended."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(each) for each in work]
    except BaseExceptionGroup as errors:
        raise first_error(errors) from errors
    return [task.result() for task in tasks]


def first_error(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group; the others follow from it or repeat it."""
    error = errors.exceptions[0]
    return first_error(error) if isinstance(error, BaseExceptionGroup) else error


async def end(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks, and return once they have ended, whatever they raise.

    A task may swallow a cancellation, as redis-py 8.1 does (docs/log.md), so it is cancelled until it has ended.
    """
    left = all_of_them = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=CANCEL_AGAIN_S)
    await asyncio.gather(*all_of_them, return_exceptions=True)
