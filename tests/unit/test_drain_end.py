"""The end of a process comes, whatever happens to what it waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from types import FrameType

import pytest

from processes.drain import Drain


async def broken() -> None:
    raise OSError("no such process")


@pytest.mark.parametrize("where", ["serve_until", "others"])
async def test_an_error_while_waiting_does_not_keep_the_process(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Drain, "_watch_over_end", lambda _self: None)
    ended = asyncio.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    try:
        drain = Drain(60.0)
        if where == "others":
            drain.install(broken)
        else:
            drain.install(serve_until=broken)
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            await ended.wait()
        assert drain.refusing
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
