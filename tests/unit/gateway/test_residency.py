"""Who is let into memory, and who has to leave for it: the gateway's rules, with fake runners, in milliseconds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.deadline import Deadline
from core.errors import Busy, DeadlineExceeded, InvalidRequest, LoadFailed
from core.generation.events import Event
from core.generation.request import GenerationRequest
from gateway import residency
from gateway.residency import Residency
from models.catalogue.catalogue import SHIPPED, Catalogue, load_catalogue
from models.catalogue.entry import Entry
from runners.service import loads_at_start
from runners.state import ModelState, RunnerState
from tests.support.servers.serving import ENTRY_FIELDS

MEMORY_GIB = {"cpu": 256.0, "cuda:0": 10.0, "cuda:1": 10.0}
NEEDED_GIB = {"a": 8.0, "b": 8.0, "small": 1.0, "split": 8.0, "third": 4.0, "pair": 4.0}
"""Each device has memory for one of `a` and `b`, and for `small` beside it."""
SOON_S = 0.05
LONG_S = 5.0


@dataclass
class FakeRunner:
    """Answers as a runner does, and loads nothing."""

    state_: ModelState = ModelState.UNLOADED
    device: str = "cuda:0"
    wanted_device: str | None = None
    also_on: tuple[str, ...] = ()
    components_on: tuple[str, ...] = ()
    addons_gib: float = 0.0
    busy_unloads: int = 0
    """How many attempts to unload end as for a model that goes on loading."""
    asked: list[str] = field(default_factory=list)

    async def state(self) -> RunnerState:
        self.asked.append("state")
        await asyncio.sleep(0)
        return RunnerState(
            model="any",
            state=self.state_,
            device=self.device,
            wanted_device=self.wanted_device or self.device,
            also_on=self.also_on,
            components_on=self.components_on,
            addons_gib=self.addons_gib,
            devices=tuple(MEMORY_GIB),
            device_memory_gib=MEMORY_GIB,
        )

    def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        raise NotImplementedError

    async def load(self, device: str | None = None) -> RunnerState:
        self.asked.append("load")
        if device == "cuda:9":
            raise InvalidRequest("device", "there is no cuda:9")
        self.state_ = ModelState.LOADING
        return await self.state()

    async def unload(self, force: bool = False, device: str | None = None) -> RunnerState:
        self.asked.append("unload")
        await asyncio.sleep(0)
        if self.busy_unloads:
            self.busy_unloads -= 1
            raise Busy("still loading")
        self.state_ = ModelState.UNLOADED
        return await self.state()


def entry(model: str) -> Entry:
    return Entry.model_validate(
        {
            **ENTRY_FIELDS,
            "id": model,
            "family": "stable-diffusion",
            "source": {"path": Path("nowhere")},
            "memory_gib": NEEDED_GIB[model],
        }
    )


def split_entry() -> Entry:
    """Over two cards."""
    defaults: Any = ENTRY_FIELDS["defaults"]
    return Entry.model_validate(
        {
            **ENTRY_FIELDS,
            "id": "split",
            "family": "flux",
            "source": {"path": Path("nowhere")},
            "memory_gib": NEEDED_GIB["split"],
            "parallel": {"ulysses": 2},
            "defaults": {**defaults, "scheduler": "flow_euler"},
        }
    )


def residency_of(budget_gib: float | None = None, **runners: FakeRunner) -> Residency:
    return Residency(
        Catalogue(split_entry() if model == "split" else entry(model) for model in runners), runners, budget_gib
    )


@asynccontextmanager
async def drawing(here: Residency, model: str) -> AsyncIterator[None]:
    async with here.using(model, Deadline(LONG_S)):
        yield


async def draw(here: Residency, runner: FakeRunner, model: str, deadline_s: float = LONG_S) -> None:
    """As a request does: its model is loaded only when it has reached the runner."""
    async with here.using(model, Deadline(deadline_s)):
        await asyncio.sleep(0.005)
        runner.state_ = ModelState.READY
        await asyncio.sleep(0.005)


async def settle() -> None:
    """Let every task come to where it waits."""
    await asyncio.sleep(SOON_S / 2)


@pytest.mark.parametrize(("addons_gib", "state"), [(1.0, "ready"), (1.1, "unloaded")])
async def test_what_requests_have_loaded_beside_a_model_counts(addons_gib: float, state: str) -> None:
    small, a = FakeRunner(ModelState.READY, addons_gib=addons_gib), FakeRunner()
    await draw(residency_of(small=small, a=a), a, "a")
    assert small.state_ == state


async def test_a_model_has_its_place_from_its_admission_on() -> None:
    a, b = FakeRunner(), FakeRunner()
    here = residency_of(a=a, b=b)
    async with drawing(here, "a"):
        assert a.state_ == "unloaded", "its request has not reached the runner"
        with pytest.raises(DeadlineExceeded):
            await draw(here, b, "b", SOON_S)
    await draw(here, b, "b")


async def test_a_model_whose_load_has_begun_has_its_place() -> None:
    a, b = FakeRunner(), FakeRunner()
    here = residency_of(a=a, b=b)
    await asyncio.gather(here.load("a"), draw(here, b, "b"))
    assert (a.state_, b.state_) in (("loading", "unloaded"), ("unloaded", "ready"))


async def test_a_model_that_moves_has_both_places() -> None:
    a, b = FakeRunner(ModelState.READY, "cuda:0", wanted_device="cuda:1"), FakeRunner(device="cuda:1")
    here = residency_of(a=a, b=b)
    async with drawing(here, "a"):
        with pytest.raises(DeadlineExceeded):
            await draw(here, b, "b", SOON_S)


async def test_loading_gives_up_waiting_for_a_model_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "LOAD_WAIT_S", SOON_S)
    a, b = FakeRunner(ModelState.READY), FakeRunner()
    here = residency_of(a=a, b=b)
    async with drawing(here, "a"):
        with pytest.raises(Busy, match="other models are using the memory"):
            await here.load("b")
        await draw(here, a, "a", SOON_S)
    assert b.state_ == "unloaded"


async def test_who_waits_for_room_holds_up_no_model_that_has_it_and_no_other_device() -> None:
    a, b, small = FakeRunner(ModelState.READY), FakeRunner(), FakeRunner(ModelState.READY)
    here = residency_of(a=a, b=b, small=small)
    async with drawing(here, "a"):
        loading = asyncio.create_task(here.load("b"))
        await settle()
        await draw(here, small, "small", SOON_S)
        small.state_, small.device = ModelState.UNLOADED, "cuda:1"
        await draw(here, small, "small", SOON_S)
        assert not loading.done()
    assert (await loading).state == "loading"
    assert (a.state_, small.state_) == ("unloaded", "ready")


@pytest.mark.parametrize("name", ["cuda:0", "cuda", "auto", None])
async def test_room_is_made_on_the_device_that_is_meant(name: str | None) -> None:
    a, b = FakeRunner(ModelState.READY), FakeRunner()
    await residency_of(a=a, b=b).load("b", name)
    assert a.state_ == "unloaded"


async def test_a_move_needs_room_where_it_goes() -> None:
    a, b = FakeRunner(ModelState.READY), FakeRunner(ModelState.READY, "cpu")
    here = residency_of(a=a, b=b)
    await here.load("b", "cuda:1")
    assert a.state_ == "ready"
    b.state_ = ModelState.READY
    await here.load("b", "cuda:0")
    assert a.state_ == "unloaded"


async def test_nobody_leaves_for_a_device_that_is_not_there() -> None:
    a, b = FakeRunner(ModelState.READY), FakeRunner()
    with pytest.raises(InvalidRequest):
        await residency_of(a=a, b=b).load("b", "cuda:9")
    assert a.state_ == "ready"


async def test_steady_traffic_to_one_model_does_not_keep_the_other_out() -> None:
    a, b = FakeRunner(ModelState.READY), FakeRunner()
    here = residency_of(a=a, b=b)
    ended: list[str] = []

    async def traffic() -> None:
        for _ in range(50):
            await draw(here, a, "a")
            ended.append("a")

    crowd = [asyncio.create_task(traffic())]
    await asyncio.sleep(0.005)
    crowd.append(asyncio.create_task(traffic()))
    await settle()
    before = len(ended)
    await draw(here, b, "b")
    assert len(ended) - before <= 2 * len(crowd), "those who drew already, and maybe one after each"
    await asyncio.gather(*crowd)
    assert len(ended) == 100


async def test_a_model_that_goes_on_loading_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "RECHECK_S", 0.001)
    a, b = FakeRunner(ModelState.LOADING, busy_unloads=3), FakeRunner()
    await draw(residency_of(a=a, b=b), b, "b")
    assert (a.state_, b.state_) == ("unloaded", "ready")


async def test_none_leaves_before_all_can() -> None:
    a, b, small = FakeRunner(ModelState.READY), FakeRunner(), FakeRunner(ModelState.READY)
    here = residency_of(8.5, a=a, b=b, small=small)
    async with drawing(here, "a"):
        with pytest.raises(DeadlineExceeded):
            await draw(here, b, "b", SOON_S)
        assert "unload" not in [*a.asked, *small.asked]
        await draw(here, small, "small", SOON_S)


async def test_those_longest_unused_leave_and_only_as_many_as_must() -> None:
    a, b, small = FakeRunner(ModelState.READY), FakeRunner(), FakeRunner(ModelState.READY)
    here = residency_of(a=a, b=b, small=small)
    await draw(here, a, "a")
    await draw(here, small, "small")
    await draw(here, b, "b")
    assert (a.state_, small.state_) == ("unloaded", "ready")


@pytest.mark.parametrize("others", [{}, {"small": FakeRunner()}])
async def test_a_model_above_the_operators_budget_is_refused_with_both_figures(others: dict[str, FakeRunner]) -> None:
    here = residency_of(4, a=FakeRunner(), **others)
    with pytest.raises(LoadFailed, match=r"8 GiB.* 4 GiB"):
        await here.load("a")
    with pytest.raises(LoadFailed, match=r"8 GiB.* 4 GiB"):
        await draw(here, FakeRunner(), "a")


async def test_a_model_above_the_devices_memory_may_try_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEMORY_GIB, "cuda:0", 4.0)
    a, small = FakeRunner(), FakeRunner(ModelState.READY)
    here = residency_of(a=a, small=small)
    await here.load("a")
    assert (a.state_, small.state_) == ("loading", "unloaded")
    await draw(here, a, "a")


async def test_one_served_model_is_asked_nothing() -> None:
    a = FakeRunner()
    await draw(residency_of(a=a), a, "a")
    assert a.asked == []


@pytest.mark.parametrize(
    ("needed_gib", "loaded"),
    [
        ([{"cuda:0": 8}], [True]),
        ([{"cuda:0": 12}], [False]),
        ([{"cuda:0": 8}, {"cuda:0": 8}, {"cuda:0": 1}], [True, False, True]),
        ([{"cuda:0": 12}, {"cuda:0": 8}, {"cuda:0": 2}], [False, True, True]),
        ([{"cuda:0": 8}, {"cuda:1": 8}], [True, True]),
        # With components on another card.
        ([{"cuda:0": 8, "cuda:1": 4}, {"cuda:1": 8}, {"cuda:1": 6}], [True, False, True]),
        ([{"cuda:1": 8}, {"cuda:0": 8, "cuda:1": 4}, {"cuda:0": 8}], [True, False, True]),
        ([{"auto": 100}], [True]),
    ],
)
def test_at_the_start_each_model_is_considered_in_order(needed_gib: list[dict[str, float]], loaded: list[bool]) -> None:
    budget_gib = {"cuda:0": 10.0, "cuda:1": 10.0}
    assert [loads_at_start(needed_gib[: place + 1], budget_gib) for place in range(len(needed_gib))] == loaded


@dataclass
class FakeReplicas(FakeRunner):
    """Two replicas, each on a card of its own."""

    first: FakeRunner = field(default_factory=FakeRunner)
    second: FakeRunner = field(default_factory=lambda: FakeRunner(device="cuda:1"))

    async def state(self) -> RunnerState:
        return RunnerState.of_several("any", [await self.first.state(), await self.second.state()])

    async def load(self, device: str | None = None) -> RunnerState:
        for replica in (self.first, self.second):
            await replica.load(device)
        return await self.state()

    async def unload(self, force: bool = False, device: str | None = None) -> RunnerState:
        for replica in (self.first, self.second):
            if device in (None, replica.device):
                await replica.unload(force)
        return await self.state()


def still_ready(runner: FakeRunner) -> bool:
    return runner.state_ is ModelState.READY


async def test_only_the_replica_on_the_same_card_makes_room() -> None:
    a, b = FakeReplicas(), FakeRunner(device="cuda:1")
    here = residency_of(a=a, b=b)
    await here.load("a")
    async with here.using("b", Deadline(LONG_S)):
        b.state_ = ModelState.READY
    assert (a.first.state_, a.second.state_) == (ModelState.LOADING, ModelState.UNLOADED)
    # The other one serves, so nothing has to leave again.
    async with here.using("a", Deadline(LONG_S)):
        assert still_ready(b)
    # An operator's load wants both.
    await here.load("a")
    assert not still_ready(b)
    assert a.second.state_ is ModelState.LOADING


async def test_replicas_stay_in_their_places_and_nobody_leaves_for_them() -> None:
    a, b = FakeReplicas(), FakeRunner(ModelState.READY, device="cuda:1")
    with pytest.raises(InvalidRequest, match="a has 2 replicas"):
        await residency_of(a=a, b=b).load("a", "cuda:1")
    assert still_ready(b)


async def test_a_replica_leaves_while_the_others_are_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(residency, "RECHECK_S", SOON_S)
    ready = (FakeRunner(ModelState.READY, device=f"cuda:{number}", busy_unloads=2) for number in range(2))
    a, b, third = FakeReplicas(first=next(ready), second=next(ready)), FakeRunner(device="cuda:1"), FakeRunner()
    here = residency_of(a=a, b=b, third=third)
    async with drawing(here, "a"):
        waiting = asyncio.create_task(draw(here, b, "b"))
        await settle()
        assert "unload" in a.second.asked
        # Nor does a request for the model wait, which goes to the other one.
        async with here.using("a", Deadline(SOON_S / 5)):
            assert not waiting.done()
        await waiting
        assert (still_ready(a.first), still_ready(a.second)) == (True, False)
        # The one that has left is in nobody's way.
        b.state_ = ModelState.UNLOADED
        await draw(here, b, "b", SOON_S)
        # The last one serves who uses the model.
        with pytest.raises(DeadlineExceeded):
            await draw(here, third, "third", SOON_S)
        assert still_ready(a.first)
    await draw(here, third, "third")
    assert not still_ready(a.first)


async def test_a_model_without_any_replica_in_memory_gets_room_for_all() -> None:
    a, b, c = FakeReplicas(), FakeRunner(device="cuda:1"), FakeRunner(device="cuda:0")
    here = residency_of(a=a, b=b, small=c)
    await here.load("b")
    await here.load("small")
    async with here.using("a", Deadline(LONG_S)):
        pass
    assert b.state_ is ModelState.UNLOADED
    assert c.state_ is ModelState.LOADING


async def test_replicas_that_share_a_card_need_room_for_each() -> None:
    """Of 10 GiB, two times 4 leave too little for 4."""
    other, pair = FakeRunner(), FakeReplicas(second=FakeRunner())
    here = residency_of(third=other, pair=pair)
    await here.load("third")
    await here.load("pair")
    assert other.state_ is ModelState.UNLOADED


async def test_a_model_over_two_cards_needs_room_on_both_and_leaves_for_each() -> None:
    split, a, b = FakeRunner(also_on=("cuda:1",)), FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1")
    here = residency_of(split=split, a=a, b=b)
    await here.load("a")
    await here.load("b")
    await here.load("split")
    assert (a.state_, b.state_) == (ModelState.UNLOADED, ModelState.UNLOADED)
    # Its denoiser's other half is where this one goes.
    await here.load("b")
    assert split.state_ is ModelState.UNLOADED


async def test_what_is_beside_models_is_not_theirs() -> None:
    cases: list[tuple[dict[str, float], bool]] = [({}, True), ({"cuda": 2.0}, False), ({"cuda:1": 2.0}, True)]
    for beside_gib, stays in cases:
        a, small = FakeRunner(), FakeRunner()
        here = Residency(Catalogue([entry("a"), entry("small")]), {"a": a, "small": small}, None, beside_gib=beside_gib)
        await here.load("a")
        await here.load("small")
        assert (a.state_ is not ModelState.UNLOADED) is stays


def with_encoder_elsewhere(model: str, **components: str) -> tuple[Entry, FakeRunner]:
    """SDXL, which has been counted, with components on other cards: 7.6 GiB of which 2.3 and more are theirs."""
    counted = load_catalogue(*SHIPPED).get("sdxl")
    apart = counted.model_copy(update={"id": model, "components": components, "memory_gib": 8.0})
    return apart, FakeRunner(components_on=tuple(components.values()))


def residency_beside(budget_gib: float | None = None, /, **runners: FakeRunner) -> Residency:
    """One with `apart`, whose second text encoder is on cuda:1, with 2.3 GiB."""
    apart, runner = with_encoder_elsewhere("apart", text_encoder_2="cuda:1")
    entries = [apart, *(entry(model) for model in runners)]
    return Residency(Catalogue(entries), {"apart": runner, **runners}, budget_gib)


async def test_components_need_room_on_the_card_that_they_are_on() -> None:
    a, b = FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1")
    here = residency_beside(a=a, b=b)
    await here.load("a")
    await here.load("b")
    await here.load("apart")
    assert (a.state_, b.state_) == (ModelState.UNLOADED, ModelState.UNLOADED), "8 and 2.3 of 10 GiB are too many"


async def test_a_model_leaves_a_card_for_the_room_of_its_components() -> None:
    small, b = FakeRunner(device="cuda:1"), FakeRunner(device="cuda:1")
    here = residency_beside(small=small, b=b)
    await here.load("apart")
    await here.load("small")
    assert (await here._runners["apart"].state()).state is ModelState.LOADING, "both fit"
    await here.load("b")
    assert (await here._runners["apart"].state()).state is ModelState.UNLOADED


async def test_what_components_need_counts_against_the_operators_budget() -> None:
    apart, runner = with_encoder_elsewhere("apart", unet="cuda:1")
    here = Residency(Catalogue([apart.model_copy(update={"memory_gib": 3.0})]), {"apart": runner}, 4)
    with pytest.raises(LoadFailed, match=r"apart needs \S+ GiB on cuda:1, and the memory budget is 4 GiB"):
        await here.load("apart")
