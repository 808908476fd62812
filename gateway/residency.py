"""Which models are in memory, and which of them must leave for another.

One process of the gateway is assumed, as `bentoml serve` starts it: it sees all requests, so it knows which models
nobody uses.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from core.deadline import Deadline
from core.errors import Busy, LoadFailed
from gateway.runner import Runner
from models.catalogue.catalogue import Catalogue
from runners.state import RunnerState

RETRY_S = 60
"""What a caller is told to wait when only other settings can help."""
LOAD_WAIT_S = 60.0
"""How long an operator's load waits for models in use, whose new users wait behind it."""
RECHECK_S = 0.5
"""When to look again at a model that could not be unloaded yet."""


class Place(NamedTuple):
    device: str
    budget_gib: float


class Residency:
    """Keeps the models on each device within the memory budget, by the catalogue's figures.

    A model takes its place as soon as it is admitted, before its runner begins to load it.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        runners: Mapping[str, Runner],
        budget_gib: float | None,
        remote: frozenset[str] = frozenset(),
    ) -> None:
        """`budget_gib` is for each device; None stands for its own memory, as the runners report it.

        Models whose runners are `remote` take none of this machine's memory.
        """
        self._catalogue = catalogue
        self._runners = runners
        self._budget_gib = budget_gib
        self._here = [model for model in runners if model not in remote]
        self._users: Counter[str] = Counter()
        self._last_used_s: dict[str, float] = {}
        self._devices: dict[str, set[str | None]] = {}
        """Where each model is and will be, as its runner last said."""
        self._claimed: set[str] = set()
        """Models that must leave for one that waits; their new users wait behind it, or it would wait for ever."""
        self._admissions: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """By device; locks are fair."""
        self._left = asyncio.Event()

    @asynccontextmanager
    async def using(self, model: str, deadline: Deadline) -> AsyncIterator[None]:
        """Make room for a model if it is not loaded, and keep it from being unloaded meanwhile.

        Raises LoadFailed when the operator's budget is too small for it, DeadlineExceeded when others keep their
        places.
        """
        self._check_budget(model)
        try:
            # Only waits inside this call: a caller may go on in another task.
            async with asyncio.timeout(deadline.left_s):
                await self._admit(model)
        except TimeoutError as error:
            raise deadline.exceeded("other models were using the memory") from error
        try:
            yield
        finally:
            self._users[model] -= 1
            self._last_used_s[model] = time.monotonic()
            self._left.set()

    async def load(self, model: str, device: str | None = None) -> RunnerState:
        """Make room for a model and begin to load it, or to move it to a device; return its state.

        Raises LoadFailed when the operator's budget is too small for it, InvalidRequest for a device that is not
        there, and Busy when others keep their places, or the runner is not there.
        """
        self._check_budget(model)
        try:
            async with asyncio.timeout(LOAD_WAIT_S), self._room(model, device):
                return await self._runners[model].load(device)
        except TimeoutError as error:
            raise Busy(f"other models are using the memory that {model} needs; try again later", RETRY_S) from error

    def _check_budget(self, model: str) -> None:
        needed_gib = self._sum_gib([model])
        if self._budget_gib is not None and model in self._here and needed_gib > self._budget_gib:
            raise LoadFailed(
                f"{model} needs {needed_gib:g} GiB, and the memory budget is {self._budget_gib:g} GiB "
                "(JUBAKO_MEMORY_BUDGET_GIB)",
                RETRY_S,
            )

    async def _admit(self, model: str) -> None:
        # A model that is in use has its place.
        if self._users[model] and model not in self._claimed:
            self._users[model] += 1
            return
        async with self._room(model):
            self._users[model] += 1

    @asynccontextmanager
    async def _room(self, model: str, device: str | None = None) -> AsyncIterator[None]:
        """Have room for a model; it must be in use or loading at the end of the block to keep it."""
        shares = model in self._here and len(self._here) > 1
        place = await self._missing_place(model, device) if shares else None
        if place is None:
            yield
            return
        async with self._admissions[place.device]:
            # Others may have brought it in meanwhile.
            if await self._missing_place(model, place.device):
                await self._make_room(model, place)
            yield

    async def _missing_place(self, model: str, device: str | None) -> Place | None:
        """Return where a model needs room; None when it has it, or when only its runner can say what is wrong."""
        state = await self._state(model)
        if state.devices is None or state.wanted_device is None:
            return None
        device = _resolved(device, state.devices) if device else state.wanted_device
        if state.state.in_memory and device in self._devices[model] and model not in self._claimed:
            return None
        memory_gib = (state.device_memory_gib or {}).get(device)
        return None if memory_gib is None else Place(device, self._budget_gib or memory_gib)

    async def _make_room(self, model: str, place: Place) -> None:
        """Unload others until this one fits, or is alone; the catalogue's figures are no proof that it cannot be."""
        room_gib = place.budget_gib - self._sum_gib([model])
        claimed: set[str] = set()
        try:
            while (loaded := await self._others_on(place.device, model)) and self._sum_gib(loaded) > room_gib:
                leaving = self._leaving(loaded, room_gib)
                claimed.update(leaving)
                self._claimed.update(leaving)
                await self._unload_one(leaving)
        finally:
            self._claimed -= claimed

    def _leaving(self, loaded: list[str], room_gib: float) -> list[str]:
        """Choose who must leave: whoever does not fit when those in use choose first, then those last used."""
        # Who was claimed before has lost its users' newcomers to the line, so that stays as it is.
        by_right = sorted(
            loaded,
            key=lambda model: (model in self._claimed, not self._users[model], -self._last_used_s.get(model, 0.0)),
        )
        staying: list[str] = []
        for model in by_right:
            if self._sum_gib([*staying, model]) <= room_gib:
                staying.append(model)
        return [model for model in loaded if model not in staying]

    async def _unload_one(self, leaving: list[str]) -> None:
        """Unload the first once nobody uses any: none leaves for a model that may give up waiting for the others."""
        if any(self._users[model] for model in leaving):
            self._left.clear()
            await self._left.wait()
            return
        try:
            await self._runners[leaving[0]].unload()
        except Busy:
            # It is still loading, or restarting; how long to wait for that is for the caller's deadline to say.
            await asyncio.sleep(RECHECK_S)

    async def _others_on(self, device: str, model: str) -> list[str]:
        others = [name for name in self._here if name != model]
        states = await asyncio.gather(*(self._state(name) for name in others))
        return [
            name
            for name, state in zip(others, states, strict=True)
            if (state.state.in_memory or self._users[name]) and device in self._devices.get(name, ())
        ]

    async def _state(self, model: str) -> RunnerState:
        state = await self._runners[model].state()
        if state.devices is not None:
            self._devices[model] = {state.device, state.wanted_device}
        return state

    def _sum_gib(self, models: list[str]) -> float:
        return sum(self._catalogue.get(model).memory_gib for model in models)


def _resolved(device: str, there: Sequence[str]) -> str:
    """Name a device as its runner does (`models.weights.devices.resolve_device`, which needs the devices)."""
    if device == "auto":
        return (there[1:] or there)[0]
    return device if device in there else f"{device}:0"
