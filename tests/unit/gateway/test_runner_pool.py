"""Which of several runners gets a request, and what happens when one is lost: with fakes, in milliseconds."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from itertools import count
from typing import Any

import pytest
from PIL import Image

from core.errors import Busy, DeadlineExceeded, LoadFailed, RunnerLost
from core.generation.draft import Draft
from core.generation.events import Event, Failed, Loading, Picture, Queued, Started, Step
from core.generation.request import GenerationRequest, Lora
from gateway.runner_load import MEASURED_S, TRY_AGAIN_S, RunnerLoad, tokens_of
from gateway.runner_pool import RunnerPool
from models.catalogue.catalogue import full_catalogue
from models.catalogue.resolving.resolve import ServerLimits, resolve
from runners.state import ModelState, RunnerState

LIMITS = ServerLimits(max_prompt_chars=1000, max_num_images=8, max_deadline_s=60.0)
PICTURE = Picture(0, 1, Image.new("RGB", (8, 8)))
EVENTS: tuple[Event, ...] = (Started(0.1), Step(0, 1, 1), PICTURE)


class FakeRunner:
    def __init__(self, *script: Event | Exception, device: str = "cuda:0") -> None:
        self.script = script or EVENTS
        self.device = device
        self.state_ = ModelState.READY
        self.broken = False
        self.drawn: list[GenerationRequest] = []

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[Event, None]:
        self.drawn.append(request)
        for each in self.script:
            if isinstance(each, Exception):
                self.broken = True
                raise each
            yield each

    async def state(self) -> RunnerState:
        self.broken = False
        return RunnerState(model="any", state=self.state_, device=self.device)

    async def unload(self, force: bool = False) -> RunnerState:
        self.state_ = ModelState.UNLOADED
        return await self.state()

    async def load(self, device: str | None = None) -> RunnerState:
        self.state_ = ModelState.READY
        return await self.state()

    async def close(self) -> None:
        pass


def wanted(**fields: Any) -> GenerationRequest:
    return resolve(Draft(prompt="a red apple", model="miniature", **fields), full_catalogue(None), LIMITS)


def pool_of(*runners: Any) -> RunnerPool:
    """On a clock of its own, so that no pause of this process counts as a runner's slowness."""
    return RunnerPool("any", runners, local=True, now_s=map(float, count()).__next__)


async def drawn(pool: RunnerPool, request: GenerationRequest | None = None) -> list[Event]:
    events = [event async for event in pool.generate(request or wanted())]
    await pool.close()
    return events


async def test_the_one_with_least_work_in_hand_is_next() -> None:
    busy, idle = FakeRunner(), FakeRunner()
    pool = pool_of(busy, idle)
    long = pool.generate(wanted(num_images=4))
    await anext(long)
    short = [pool.generate(wanted(num_inference_steps=4)) for _ in range(3)]
    for each in short:
        await anext(each)
    # Three short requests are less work than a long one.
    assert (len(busy.drawn), len(idle.drawn)) == (1, 3)
    for each in (long, *short):
        await each.aclose()
    await pool.close()


@pytest.mark.parametrize("error", [RunnerLost(), Busy("restarting")])
async def test_what_had_begun_is_begun_again_while_nothing_was_delivered(error: Exception) -> None:
    lost, other = FakeRunner(Started(0.1), Step(0, 1, 2), error), FakeRunner()
    events = await drawn(pool_of(lost, other))
    assert [type(event) for event in events] == [Started, Step, Step, Picture]
    assert len(lost.drawn) == len(other.drawn) == 1


async def test_what_was_delivered_is_not_drawn_twice() -> None:
    lost, other = FakeRunner(Started(0.1), PICTURE, RunnerLost()), FakeRunner()
    with pytest.raises(RunnerLost):
        await drawn(pool_of(lost, other))
    assert other.drawn == []


async def test_a_request_that_ends_its_runners_does_not_end_all_of_them() -> None:
    runners = [FakeRunner(Started(0.1), RunnerLost()) for _ in range(4)]
    with pytest.raises(RunnerLost):
        await drawn(pool_of(*runners))
    assert sum(len(runner.drawn) for runner in runners) == 2


async def test_of_eight_cards_three_are_lost_one_after_the_other_and_no_request_is() -> None:
    cards = [FakeRunner(device=f"cuda:{number}") for number in range(8)]
    pool = pool_of(*cards)
    for lost in cards[:3]:
        lost.script = (Started(0.1), RunnerLost())
        going = [pool.generate(wanted()) for _ in range(2 * len(cards))]
        for each in going:
            assert isinstance(await anext(each), Started)
        assert lost.drawn
        for each in going:
            assert isinstance([event async for event in each][-1], Picture)
        before = len(lost.drawn)
        assert isinstance([event async for event in pool.generate(wanted())][-1], Picture)
        assert len(lost.drawn) == before
    assert min(len(card.drawn) for card in cards[3:]) >= 4
    await pool.close()


async def test_one_that_cannot_load_leaves_its_requests_to_others_and_tries_again_later() -> None:
    now_s = [1000.0]
    dead, alive = FakeRunner(Failed.of(LoadFailed("there is no cuda:1 on this machine"))), FakeRunner()
    dead.state_ = ModelState.FAILED
    pool = RunnerPool("any", [dead, alive], local=True, now_s=lambda: now_s[0])  # type: ignore[list-item]
    for _ in range(3):
        assert isinstance((await drawn(pool))[-1], Picture)
    assert (len(dead.drawn), len(alive.drawn)) == (1, 3)
    now_s[0] += TRY_AGAIN_S
    alive.broken = True
    assert isinstance((await drawn(pool))[-1], Picture)
    assert (len(dead.drawn), len(alive.drawn)) == (2, 4)


async def test_where_none_can_the_error_is_of_one_that_may_later() -> None:
    dead, lost = FakeRunner(Failed.of(LoadFailed("there is no cuda:1 on this machine"))), FakeRunner(Busy("restarting"))
    dead.state_ = ModelState.FAILED
    for pool in (pool_of(dead, lost), pool_of(lost, dead)):
        with pytest.raises(Busy, match="restarting"):
            await drawn(pool)
    with pytest.raises(LoadFailed, match="cuda:1"):
        await drawn(pool_of(dead, dead))


def with_lora() -> GenerationRequest:
    return wanted(loras=(Lora(name=next(iter(full_catalogue(None).get("miniature").loras)), scale=1.0),))


async def test_what_one_elsewhere_lacks_another_may_have() -> None:
    now_s = [1000.0]
    without, having = FakeRunner(Failed.of(LoadFailed("the LoRA 'ink' is not there"))), FakeRunner()
    pool = RunnerPool("any", [without, having], now_s=lambda: now_s[0])  # type: ignore[list-item]
    for _ in range(3):
        assert isinstance((await drawn(pool, with_lora()))[-1], Picture)
    assert (len(without.drawn), len(having.drawn)) == (1, 3)
    # It can do what needs no LoRA, and is asked again for this one after a while.
    without.script = EVENTS
    await drawn(pool)
    assert len(without.drawn) == 2
    now_s[0] += TRY_AGAIN_S
    having.broken = True
    await drawn(pool, with_lora())
    assert len(without.drawn) == 3


async def test_one_that_rests_is_asked_when_all_others_fail() -> None:
    resting = FakeRunner(device="cuda:0")
    full = FakeRunner(Failed.of(Busy("256 requests are waiting")), device="cuda:1")
    # Without time, both are equally fast.
    pool = RunnerPool("any", [resting, full], local=True, now_s=lambda: 0.0)  # type: ignore[list-item]
    await pool.unload(device="cuda:0")
    assert isinstance((await drawn(pool))[-1], Picture)
    # It has the model again.
    full.script = EVENTS
    await drawn(pool)
    await drawn(pool)
    assert (len(resting.drawn), len(full.drawn)) == (2, 2)


async def test_what_one_ends_before_it_rests_does_not_wake_it() -> None:
    leaving, staying = FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1")
    pool = pool_of(leaving, staying)
    going = pool.generate(wanted())
    await anext(going)
    assert len(leaving.drawn) == 1
    await pool.unload(device="cuda:0")
    assert isinstance([event async for event in going][-1], Picture)
    await drawn(pool)
    await drawn(pool)
    assert (len(leaving.drawn), len(staying.drawn)) == (1, 2)


async def test_what_a_request_adds_fails_once() -> None:
    first, second = (FakeRunner(Failed.of(LoadFailed("ink cannot be loaded"))) for _ in range(2))
    (failed,) = await drawn(pool_of(first, second), with_lora())
    assert isinstance(failed, Failed)
    assert len(first.drawn) + len(second.drawn) == 1


async def test_one_that_made_room_rests_until_it_is_loaded_again() -> None:
    first, second = FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1")
    pool = pool_of(first, second)
    state = await pool.unload(device="cuda:0")
    assert [replica.state for replica in (await pool.state()).each] == [ModelState.UNLOADED, ModelState.READY]
    assert state.each[0].device == "cuda:0"
    for _ in range(4):
        await drawn(pool)
    assert (len(first.drawn), len(second.drawn)) == (0, 4)
    await pool.load()
    await drawn(pool)
    assert len(first.drawn) == 1


async def test_replicas_are_numbered_and_do_not_move() -> None:
    pool = pool_of(FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1"))
    await drawn(pool)
    for state in (await pool.state(), await pool.unload(), await pool.load()):
        shown = state.as_json()["runners"]
        assert [(one["replica"], one["device"]) for one in shown] == [(1, "cuda:0"), (2, "cuda:1")]


async def test_nobody_leaves_a_device_that_none_is_on() -> None:
    pool = pool_of(FakeRunner(device="cuda:0"), FakeRunner(device="cuda:1"))
    state = await pool.unload(device="cuda:2")
    assert [replica.state for replica in state.each] == [ModelState.READY, ModelState.READY]
    assert isinstance((await drawn(pool))[-1], Picture)


def finishing(load: RunnerLoad, **fields: Any) -> float:
    return load.finish_s(wanted(**fields), 1000.0)


def test_a_runner_without_the_model_or_its_lora_counts_as_busier() -> None:
    having, without, empty = RunnerLoad(), RunnerLoad(), RunnerLoad()
    request = with_lora()
    with having.doing(request):
        pass
    empty.in_memory = False
    times_s = [load.finish_s(request, 1.0) for load in (having, without, empty)]
    assert times_s == sorted(times_s)
    assert len(set(times_s)) == 3


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def load(self) -> RunnerLoad:
        return RunnerLoad(lambda: self.now_s)

    def generate(self, load: RunnerLoad, seconds: float, before: Event | None = None, before_s: float = 0.0) -> None:
        """Have a runner generate an image, with the events of a real one; `before` comes first, and takes a while."""
        with load.doing(wanted()) as on_event:
            if before is not None:
                on_event(before)
                self.now_s += before_s
            on_event(Started(0.1))
            self.now_s += seconds
            on_event(Step(0, 1, 1))
            on_event(PICTURE)


def test_a_faster_runner_is_given_more() -> None:
    clock = Clock()
    fast, slow = clock.load(), clock.load()
    clock.generate(fast, 1.0)
    clock.generate(slow, 10.0)
    assert fast.tokens_per_s == pytest.approx(tokens_of(wanted()))
    with fast.doing(wanted(num_images=3)):
        assert finishing(fast) < finishing(slow)


def test_the_time_to_load_the_model_is_no_speed() -> None:
    clock = Clock()
    load = clock.load()
    clock.generate(load, 1.0, Loading(0.5), 300.0)
    assert load.tokens_per_s == pytest.approx(tokens_of(wanted()))
    assert load.in_memory


def test_requests_that_run_together_share_their_time() -> None:
    clock = Clock()
    load = clock.load()
    with load.doing(wanted()) as first, load.doing(wanted()) as second:
        first(Started(0.1))
        second(Queued(1))
        clock.now_s += 1.0
        first(PICTURE)
        second(Started(1.1))
        clock.now_s += 1.0
        second(PICTURE)
    assert load.tokens_per_s == pytest.approx(tokens_of(wanted()))
    assert load.in_hand == 0


def test_one_that_never_rests_is_measured_too() -> None:
    clock = Clock()
    load = clock.load()
    with load.doing(wanted(num_images=8)) as on_event:
        on_event(Started(0.1))
        for _ in range(4):
            clock.now_s += MEASURED_S / 2
            on_event(PICTURE)
        assert load.tokens_per_s == pytest.approx(tokens_of(wanted()) / (MEASURED_S / 2))


def test_a_load_that_fails_leaves_no_model() -> None:
    load = RunnerLoad()
    load.in_memory = False
    with load.doing(wanted()) as on_event:
        on_event(Loading(0.5))
        on_event(Failed.of(DeadlineExceeded("while the model was loading")))
    assert load.in_memory is False
    assert load.tokens_per_s is None
