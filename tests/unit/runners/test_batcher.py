"""The policy, without torch: who is served next."""

from __future__ import annotations

from dataclasses import dataclass, field

from core.generation.request import Priority
from models.catalogue.families import CallStage
from runners.engine.batcher import CLASS_TICKS, STRETCH, WaitingLine, choose, urgency


@dataclass(frozen=True)
class Call:
    signature: str = "unet 8x8"
    tokens: int = 1
    stage: CallStage = CallStage.DENOISE


@dataclass(frozen=True)
class Candidate:
    urgency: int
    call: Call = field(default_factory=Call)


def names(batch: list[Candidate]) -> list[int]:
    return [candidate.urgency for candidate in batch]


def test_equal_signatures_share_a_pass_most_urgent_first() -> None:
    candidates = [Candidate(3), Candidate(1), Candidate(2)]
    assert names(choose(candidates, lambda _: 10)) == [1, 2, 3]


def test_the_budget_bounds_a_pass() -> None:
    candidates = [Candidate(n, Call(tokens=4)) for n in range(5)]
    assert names(choose(candidates, lambda _: 8)) == [0, 1]


def test_a_call_larger_than_the_budget_runs_alone() -> None:
    candidates = [Candidate(1, Call(tokens=100)), Candidate(2)]
    assert names(choose(candidates, lambda _: 8)) == [1]


def test_a_small_call_fills_what_a_large_one_left() -> None:
    candidates = [Candidate(1, Call(tokens=5)), Candidate(2, Call(tokens=5)), Candidate(3, Call(tokens=3))]
    assert names(choose(candidates, lambda _: 8)) == [1, 3]


def test_other_signatures_wait() -> None:
    candidates = [Candidate(2), Candidate(1, Call(signature="unet 16x16")), Candidate(3)]
    assert names(choose(candidates, lambda _: 10)) == [1]


def test_encoding_and_decoding_go_before_denoising() -> None:
    encode = Candidate(9, Call("text", stage=CallStage.ENCODE))
    decode = Candidate(8, Call("vae", stage=CallStage.DECODE))
    denoise = Candidate(1)
    assert choose([denoise, decode, encode], lambda _: 10) == [decode]
    assert choose([denoise, encode], lambda _: 10) == [encode]


def test_controlnets_go_before_denoising_and_after_encoding() -> None:
    encode = Candidate(9, Call("text", stage=CallStage.ENCODE))
    control = Candidate(8, Call("controlnet", stage=CallStage.CONTROL))
    denoise = Candidate(1)
    assert choose([denoise, control, encode], lambda _: 10) == [encode]
    assert choose([denoise, control], lambda _: 10) == [control]


def test_denoising_goes_before_the_encoding_of_a_lower_class() -> None:
    encode = Candidate(urgency(0, 4, Priority.LOW), Call("text", stage=CallStage.ENCODE))
    denoise = Candidate(urgency(0, 50, Priority.NORMAL))
    assert choose([encode, denoise], lambda _: 10) == [denoise]


def test_a_short_request_overtakes_a_long_one_that_came_shortly_before() -> None:
    long = urgency(accepted_tick=0, denoising_steps=50, priority=Priority.NORMAL)
    short = urgency(accepted_tick=100, denoising_steps=4, priority=Priority.NORMAL)
    assert short < long


def test_a_long_request_is_overtaken_for_a_bounded_time() -> None:
    long = urgency(accepted_tick=0, denoising_steps=50, priority=Priority.NORMAL)
    late = urgency(accepted_tick=STRETCH * 50, denoising_steps=1, priority=Priority.NORMAL)
    assert long < late


def test_a_higher_class_goes_first_and_the_lowest_still_advances() -> None:
    low = urgency(accepted_tick=0, denoising_steps=50, priority=Priority.LOW)
    assert urgency(0, 50, Priority.HIGH) < urgency(0, 50, Priority.NORMAL) < low
    assert low < urgency(2 * CLASS_TICKS + 1, 50, Priority.HIGH)


def test_the_waiting_line_is_sorted_and_stable() -> None:
    line = WaitingLine[Candidate]()
    first, second, urgent = Candidate(5, Call("a")), Candidate(5, Call("b")), Candidate(1)
    for ticket in (first, second, urgent):
        line.add(ticket)
    assert list(line) == [urgent, first, second]
    line.remove(first)
    assert line.first is urgent
    assert len(line) == 2
