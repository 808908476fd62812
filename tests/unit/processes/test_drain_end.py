"""The end of a process comes, whatever happens to what it waits for."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from processes.drain import Drain


async def broken() -> None:
    raise OSError("no such process")


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> Iterator[asyncio.Event]:
    """Set when the process would end; what handles signals afterwards is what did before."""
    monkeypatch.setattr(Drain, "_watch_over_end", lambda _self: None)
    ended = asyncio.Event()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def end(_number: int, _frame: FrameType | None) -> None:
        ended.set()

    signal.signal(signal.SIGTERM, end)
    yield ended
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("where", ["serve_until", "others"])
async def test_an_error_while_waiting_does_not_keep_the_process(where: str, ended: asyncio.Event) -> None:
    drain = Drain(60.0)
    if where == "others":
        drain.install(broken)
    else:
        drain.install(serve_until=broken)
    os.kill(os.getpid(), signal.SIGTERM)
    async with asyncio.timeout(5):
        await ended.wait()
    assert drain.refusing


async def test_in_a_hurry_a_runner_still_outlives_its_gateway(ended: asyncio.Event) -> None:
    """Otherwise the gateway would report a lost runner before it can say that the server is being stopped."""
    drain, gateway_ended, waits = Drain(60.0), asyncio.Event(), asyncio.Event()

    async def for_the_gateway() -> None:
        waits.set()
        await gateway_ended.wait()

    async def for_ever() -> None:
        await asyncio.Event().wait()

    drain.install(for_ever, serve_until=for_the_gateway)
    async with asyncio.timeout(5):
        os.kill(os.getpid(), signal.SIGINT)
        await waits.wait()
        for _ in range(100):
            await asyncio.sleep(0)
        assert not drain.refusing
        gateway_ended.set()
        await ended.wait()
