"""Which models are in memory, and which are unloaded to make room for another.

It assumes a single gateway process, as `bentoml serve` starts it: that one sees all requests, so it knows which models
are unused.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from core.deadline import Deadline
from core.errors import Busy, InvalidRequest, LoadFailed
from gateway.memory_needs import MemoryNeed, memory_needs_of, taken_gib, wanted_device
from gateway.runner import Runner
from models.catalogue.catalogue import Catalogue
from models.catalogue.memory.needs import DIGITS, summed
from runners.state import ModelState, RunnerState

RETRY_S = 60
"""`Retry-After` when other models stay in use."""
LOAD_WAIT_S = 60.0
"""How long an operator's load waits for models in use; new requests for those wait behind it."""
RECHECK_S = 0.5
"""How long to wait before trying again to unload a model."""


class Residency:
    """Keeps the models on each device within the memory budget, by the catalogue's figures and what runners report as
    loaded in addition, for requests.

    A model counts as resident as soon as it is admitted, before its runner starts to load it. A model with several
    replicas counts as resident while any of them is: room is made, for all of them, only when the first one loads. A
    single replica may be unloaded while another one can serve.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        runners: Mapping[str, Runner],
        budget_gib: float | None,
        remote: frozenset[str] = frozenset(),
        beside_gib: Mapping[str, float] | None = None,
    ) -> None:
        """`budget_gib` applies to each device; None means the device's own memory, as the runners report it, less
        `beside_gib`.

        Models whose runners are `remote` use none of this machine's memory.
        """
        self._catalogue = catalogue
        self._runners = runners
        self._budget_gib = budget_gib
        self._beside_gib = beside_gib or {}
        self.remote = remote
        self._here = [model for model in runners if model not in remote]
        self._users: Counter[str] = Counter()
        self._last_used_s: dict[str, float] = {}
        self._taken_gib: dict[str, Mapping[str, float]] = {}
        """Memory by model and device, as last reported: on all devices that replicas and their components are on or are
        moving to."""
        self._seen: dict[str, RunnerState] = {}
        """Each model's last state."""
        self._leaving: set[tuple[str, str]] = set()
        """Replicas, by model and device, that are being unloaded while other replicas of their models serve."""
        self._evicted: set[str] = set()
        """Models to unload for one that waits; new requests for them queue behind it, or it would wait forever."""
        self._admissions: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        """Locks by device; they are fair."""
        self._user_left = asyncio.Event()

    @asynccontextmanager
    async def using(self, model: str, deadline: Deadline) -> AsyncIterator[None]:
        """Make room for a model if it is not loaded, and keep it from being unloaded during the block.

        Raises LoadFailed when the operator's budget is too small for it, DeadlineExceeded when other models stay in
        use.
        """
        self._check_budget(model)
        # The deadline is only for this wait, since the block may go on in another task.
        async with deadline.limiting("while other models were using the memory"):
            await self._admit(model)
        try:
            yield
        finally:
            self._users[model] -= 1
            self._last_used_s[model] = time.monotonic()
            self._user_left.set()

    async def load(self, model: str, device: str | None = None) -> RunnerState:
        """Make room for a model and start loading it, or moving it to a device; return its state.

        Raises LoadFailed when the operator's budget is too small for it, InvalidRequest for a device that does not
        exist, or for replicas, which do not move, and Busy when other models stay in use, or the runner cannot be
        reached.
        """
        self._check_budget(model)
        if device is not None and model in self._here:
            await self._check_move(model)
        try:
            async with asyncio.timeout(LOAD_WAIT_S), self._room(model, device, every=True):
                return await self._runners[model].load(device)
        except TimeoutError as error:
            raise Busy(f"other models are using the memory that {model} needs; try again later", RETRY_S) from error

    def _check_budget(self, model: str) -> None:
        if self._budget_gib is None or model not in self._here:
            return
        entry = self._catalogue.get(model)
        needs = {"": entry.memory_gib, **{f" on {device}": gib for device, gib in entry.elsewhere_gib.items()}}
        for where, needed_gib in needs.items():
            if needed_gib > self._budget_gib:
                raise LoadFailed(
                    f"{model} needs {needed_gib:g} GiB{where}, and the memory budget is {self._budget_gib:g} GiB "
                    "(JUBAKO_MEMORY_BUDGET_GIB)"
                )

    async def _check_move(self, model: str) -> None:
        replicas = (await self._state(model)).each
        if len(replicas) > 1:
            raise InvalidRequest("device", f"{model} has {len(replicas)} replicas, each in its place")

    async def _admit(self, model: str) -> None:
        # A model that is in use is resident.
        if self._users[model] and model not in self._evicted:
            self._users[model] += 1
            return
        async with self._room(model):
            self._users[model] += 1

    @asynccontextmanager
    async def _room(self, model: str, device: str | None = None, every: bool = False) -> AsyncIterator[None]:
        """Make room for a model; to keep it, the model must be in use or loading when the block ends.

        `every` makes room for all replicas, even if one is in memory already.
        """
        shares = model in self._here and len(self._here) > 1
        wanted = await self._missing(model, device, every) if shares else {}
        async with AsyncExitStack() as admitted:
            # In a fixed order, so that no two wait for each other's locks.
            for name in sorted(wanted):
                await admitted.enter_async_context(self._admissions[name])
            # Another request may have loaded it meanwhile.
            missing = await self._missing(model, device, every) if wanted else {}
            for name in sorted(wanted.keys() & missing.keys()):
                await self._make_room(model, missing[name])
            yield

    async def _missing(self, model: str, device: str | None, every: bool) -> dict[str, MemoryNeed]:
        """Return the memory that a model still needs, by device."""
        replicas = (await self._state(model)).each
        if not every and any(self._has_room(model, replica, device) for replica in replicas):
            return {}
        without = [replica for replica in replicas if not self._has_room(model, replica, device)]
        entry = self._catalogue.get(model)
        limits = self._budget_gib, self._beside_gib
        needs = (need for replica in without for need in memory_needs_of(replica, device, entry, *limits))
        return {need.device: need for need in needs}

    def _has_room(self, model: str, state: RunnerState, device: str | None) -> bool:
        wanted = wanted_device(state, device)
        there = wanted in (state.device, state.wanted_device)
        return state.state.in_memory and there and model not in self._evicted

    async def _make_room(self, model: str, need: MemoryNeed) -> None:
        """Unload others until this one fits, or is alone: then it may load even if the catalogue's figures say no."""
        device = need.device
        # Other replicas of the model may be moving to this device.
        room_gib = round(need.budget_gib - max(need.needed_gib, self._sum_gib([model], device)), DIGITS)
        evicted: set[str] = set()
        try:
            while (loaded := await self._others_on(device, model)) and self._sum_gib(loaded, device) > room_gib:
                leaving = self._to_evict(loaded, device, room_gib)
                whole = [name for name in leaving if not self._serves_elsewhere(name, device)]
                evicted.update(whole)
                self._evicted.update(whole)
                if any(self._users[name] for name in whole):
                    # Unload nothing while one of them is in use: until then, the request may still give up.
                    self._user_left.clear()
                    await self._user_left.wait()
                else:
                    await self._unload(leaving[0], device)
        finally:
            self._evicted -= evicted

    def _to_evict(self, loaded: list[str], device: str, room_gib: float) -> list[str]:
        """Choose the models to unload: those that do not fit after the models in use, then the recently used ones."""
        # Keep to models chosen before (they sort last), since their new requests are already waiting.
        by_priority = sorted(
            loaded,
            key=lambda model: (model in self._evicted, not self._users[model], -self._last_used_s.get(model, 0.0)),
        )
        staying: list[str] = []
        for model in by_priority:
            if self._sum_gib([*staying, model], device) <= room_gib:
                staying.append(model)
        return [model for model in loaded if model not in staying]

    async def _unload(self, model: str, device: str) -> None:
        """Unload a model's replicas on the device, each once its own requests are done."""
        replica = (model, device)
        self._leaving.add(replica)
        try:
            await self._runners[model].unload(device=device)
        except Busy:
            # It is still loading or restarting; the request's deadline limits the wait.
            await asyncio.sleep(RECHECK_S)
        finally:
            self._leaving.discard(replica)

    def _serves_elsewhere(self, model: str, device: str) -> bool:
        """Whether another replica is ready and not being unloaded, so that requests need not wait for this device."""
        leaving = {device, *(there for name, there in self._leaving if name == model)}
        replicas = self._seen[model].each if model in self._seen else ()
        return any(each.state is ModelState.READY and leaving.isdisjoint(each.occupied) for each in replicas)

    async def _others_on(self, device: str, model: str) -> list[str]:
        others = [name for name in self._here if name != model]
        states = await asyncio.gather(*(self._state(name) for name in others))
        return [name for name, state in zip(others, states, strict=True) if self._is_on(device, name, state)]

    def _is_on(self, device: str, model: str, state: RunnerState) -> bool:
        """Whether a model is on a device, or will be there for requests that wait for it."""
        waited_for = self._users[model] and device in self._taken_gib.get(model, ())
        if waited_for and not self._serves_elsewhere(model, device):
            return True
        return any(replica.state.in_memory and device in replica.occupied for replica in state.each)

    async def _state(self, model: str) -> RunnerState:
        state = self._seen[model] = await self._runners[model].state()
        known = [replica for replica in state.each if replica.devices is not None]
        if known:
            entry = self._catalogue.get(model)
            self._taken_gib[model] = summed(taken for replica in known for taken in taken_gib(replica, entry))
        return state

    def _sum_gib(self, models: Iterable[str], device: str) -> float:
        """Return how much of a device's memory all replicas of these models take."""
        return round(sum(self._taken_gib.get(model, {}).get(device, 0.0) for model in models), DIGITS)
