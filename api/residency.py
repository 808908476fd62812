"""Which models are in memory, and which of them must leave for another.

One process of the gateway is assumed, as `bentoml serve` starts it: it sees all requests, so it knows which models
nobody uses.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Protocol

from errors import DeadlineExceeded, LoadFailed
from models.catalogue import Catalogue

IN_MEMORY = ("ready", "loading", "unloading")
RETRY_S = 60
"""What a caller is told to wait when only other settings can help."""


class Resident(Protocol):
    """What this needs of a model's runner."""

    async def state(self) -> dict[str, Any]: ...

    async def unload(self) -> dict[str, Any]: ...


class Residency:
    """Keeps the models on one device within the memory budget, by the catalogue's figures."""

    def __init__(self, catalogue: Catalogue, runners: Mapping[str, Resident], budget_gib: float | None) -> None:
        """`budget_gib` is for each device; None stands for its own memory, as the runners report it."""
        self._catalogue = catalogue
        self._runners = runners
        self._budget_gib = budget_gib
        self._users: Counter[str] = Counter()
        self._last_used_s: dict[str, float] = {}
        self._admission = asyncio.Lock()
        self._left = asyncio.Event()

    @asynccontextmanager
    async def using(self, model: str, deadline_s: float | None) -> AsyncIterator[None]:
        """Make room for a model if it is not loaded, and keep it from being unloaded meanwhile.

        Raises LoadFailed when there is no room for it even alone, DeadlineExceeded when others keep their places.
        """
        try:
            # Only waits inside this call: a caller may go on in another task.
            async with asyncio.timeout(deadline_s):
                await self._admit(model)
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"deadline_s: {deadline_s:g} s have passed while other models were using the memory"
            ) from error
        try:
            yield
        finally:
            self._users[model] -= 1
            self._last_used_s[model] = time.monotonic()
            self._left.set()

    async def make_room(self, model: str, device: str | None = None) -> None:
        """Unload idle models until this one fits. Raises LoadFailed when it does not even alone."""
        async with self._admission:
            await self._make_room(model, device)

    async def _admit(self, model: str) -> None:
        # A model that is in use has its place, and one that is alone needs to ask nobody.
        if len(self._runners) > 1 and not self._users[model]:
            async with self._admission:
                await self._make_room(model, None)
                self._users[model] += 1
        else:
            self._users[model] += 1

    async def _make_room(self, model: str, device: str | None) -> None:
        own = await self._runners[model].state()
        device = device or own.get("device")
        if own["state"] in IN_MEMORY and device == own["device"]:
            return
        needed_gib = self._catalogue.get(model).memory_gib
        budget_gib = self._budget_gib or own.get("device_memory_gib")
        if budget_gib is None:
            return
        if needed_gib > budget_gib:
            raise LoadFailed(
                f"{model} needs {needed_gib:g} GiB, and the memory budget is {budget_gib:g} GiB "
                "(JUBAKO_MEMORY_BUDGET_GIB)",
                RETRY_S,
            )
        while (loaded := await self._others_on(device, model)) and self._sum_gib(loaded) + needed_gib > budget_gib:
            await self._unload_one(loaded)

    async def _others_on(self, device: str | None, model: str) -> list[str]:
        others = [name for name in self._runners if name != model]
        states = await asyncio.gather(*(self._runners[name].state() for name in others))
        return [
            name
            for name, state in zip(others, states, strict=True)
            if state["state"] in IN_MEMORY and state["device"] == device
        ]

    def _sum_gib(self, models: list[str]) -> float:
        return sum(self._catalogue.get(model).memory_gib for model in models)

    async def _unload_one(self, loaded: list[str]) -> None:
        """Unload the model whose last use is longest ago; when all are in use, wait until one is not."""
        idle = [model for model in loaded if not self._users[model]]
        if idle:
            await self._runners[min(idle, key=lambda model: self._last_used_s.get(model, 0.0))].unload()
            return
        self._left.clear()
        await self._left.wait()
