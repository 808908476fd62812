"""Hosts of tiny models in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from core.generation.events import Event, Step
from models.catalogue.entry import Entry
from runners.host.host import Host
from runners.options import EngineLimits, HostOptions
from tests.support.engine.drawing import request

LIMITS = EngineLimits(batch_tokens=1024, max_running=4, max_queue=2)


@asynccontextmanager
async def hosting(entry: Entry, retry_pause_s: float = 60.0, **options: Any) -> AsyncIterator[Host]:
    host = Host(entry, LIMITS, HostOptions(device="cpu", **options), retry_pause_s=retry_pause_s)
    host.start(load=False)
    try:
        yield host
    finally:
        await host.close()


async def drawn(host: Host, **changes: Any) -> list[Event]:
    return [event async for event in host.generate(request(**changes))]


async def until(condition: Any) -> None:
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # a host tells nobody when its state changes
            await asyncio.sleep(0.01)


async def until_step(events: AsyncIterator[Event]) -> None:
    """Read events up to the first step."""
    async for event in events:
        if isinstance(event, Step):
            return
