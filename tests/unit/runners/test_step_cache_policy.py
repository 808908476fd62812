"""When a denoising step may be predicted, and what automatic requests get."""

from __future__ import annotations

import math
from collections.abc import Callable
from weakref import WeakSet

import pytest
import torch

from core.generation.step_cache import StepCache
from models.catalogue.families import FAMILIES
from runners.engine.step_cache.automatic import (
    KNOWN_SIZES,
    AutomaticStepCache,
    Workload,
    denoiser_calls,
    samples_in_call,
)
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import MAX_CORRECTED_ERROR, POLICIES, Policy
from runners.options import EngineLimits
from tests.support.engine.drawing import request

POLICY = Policy(tolerance=0.1, longest_share=0.2, first_share=0.2, last_share=0.1)


@pytest.mark.parametrize(("step", "allowed"), [(0, False), (1, False), (2, True), (8, True), (9, False)])
def test_the_first_and_last_steps_are_computed(step: int, allowed: bool) -> None:
    assert POLICY.allows(step, steps=10) is allowed


@pytest.mark.parametrize("mode", POLICIES)
@pytest.mark.parametrize("steps", [1, 2, 4, 20, 150])
def test_some_steps_are_computed_whatever_their_number(mode: StepCache, steps: int) -> None:
    allowed = [POLICIES[mode].allows(step, steps) for step in range(steps)]
    assert not allowed[0]
    assert not allowed[-1]


def test_an_error_grows_with_the_distance_to_both_samples() -> None:
    assert POLICY.trusts(6, 100, [4, 5], curvature=0.04)  # 0.04 * 1 * 2
    assert not POLICY.trusts(7, 100, [4, 5], curvature=0.04)  # 0.04 * 2 * 3
    assert not POLICY.trusts(6, 100, [3, 5], curvature=0.04)  # 0.04 * 1 * 3


@pytest.mark.parametrize(("steps", "longest"), [(4, 1), (10, 2), (20, 4)])
def test_no_line_is_followed_for_more_than_a_share_of_the_steps(steps: int, longest: int) -> None:
    assert POLICY.trusts(1 + longest, steps, [0, 1], curvature=0)
    assert not POLICY.trusts(2 + longest, steps, [0, 1], curvature=0)


def learnt(outputs: Callable[[int], float], steps: int) -> CallSite:
    site = CallSite(POLICY)
    for step in range(steps):
        site.corrected(step, (torch.full((2, 3), outputs(step)),))
    return site


def test_no_third_output_is_ever_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    kept, most, clone = WeakSet[torch.Tensor](), [], torch.clone

    def counted(tensor: torch.Tensor) -> torch.Tensor:
        copy = clone(tensor)
        kept.add(copy)
        most.append(len(kept))
        return copy

    monkeypatch.setattr(torch, "clone", counted)
    site = learnt(lambda step: 1.0 + step**2, steps=6)
    assert most == [1, 2, 2, 2, 2, 2]
    del site
    assert not kept


def test_what_goes_on_evenly_is_predicted_exactly() -> None:
    site = learnt(lambda step: 5.0 - 0.5 * step, steps=4)
    assert site.trusts(4, 100)
    assert torch.equal(site.predicted(5)[0], torch.full((2, 3), 2.5))


def test_a_bend_is_no_longer_followed_one_computed_step_later() -> None:
    site = learnt(lambda step: 1.0 if step < 6 else 2.0, steps=7)
    # The error of step 6 may still be on its way from the device.
    assert site.trusts(7, 100)
    site.corrected(7, (torch.full((2, 3), 2.0),))
    assert not site.trusts(8, 100)


def test_three_computed_steps_show_no_error_yet() -> None:
    assert not learnt(lambda _: 1.0, steps=3).trusts(3, 100)


@pytest.mark.parametrize("computed", [[0, 1, 2, 3, 5], [0, 1, 2, 3, 6], [0, 1, 3, 5, 7, 10]])
def test_an_even_bend_is_made_up_for_exactly(computed: list[int]) -> None:
    bend = [torch.full((2, 3), 10 + 0.01 * (step - 3) ** 2) for step in range(computed[-1] + 1)]
    site, total = CallSite(POLICY), torch.zeros(2, 3)
    for step, output in enumerate(bend):
        total += site.corrected(step, (output,))[0] if step in computed else site.predicted(step)[0]
    assert torch.allclose(total, sum(bend, torch.zeros(2, 3)), rtol=1e-6)


def test_a_jump_is_made_up_for_within_a_bound() -> None:
    site = learnt(lambda _: 1.0, steps=4)
    [answer] = site.corrected(5, (torch.full((2, 3), 2.0),))
    # The line was off by half of the output; a third of a tenth of the output is missing at step 4.
    assert torch.allclose(answer, torch.full((2, 3), 2 + 2 * MAX_CORRECTED_ERROR / 3))


def test_outputs_of_zeros_stay_zeros() -> None:
    site = learnt(lambda _: 0.0, steps=4)
    assert torch.equal(site.corrected(5, (torch.zeros(2, 3),))[0], torch.zeros(2, 3))


def test_what_is_no_floating_tensor_stays() -> None:
    site = CallSite(POLICY)
    for step in range(4):
        site.corrected(step, {"sample": torch.ones(2), "index": torch.tensor([step]), "name": "x"})
    predicted = site.predicted(4)
    assert predicted["index"].tolist() == [3]
    corrected = site.corrected(5, {"sample": torch.ones(2), "index": torch.tensor([5]), "name": "y"})
    assert (corrected["index"].tolist(), corrected["name"]) == ([5], "y")
    assert predicted["name"] == "x"


def test_an_error_that_is_no_number_is_not_trusted() -> None:
    assert not learnt(lambda _: 0.0, steps=4).trusts(4, 100)


TOKENS = 100
"""Of an image of these tests."""
NONE = Workload(0, 0)


def images(number: int) -> Workload:
    return Workload(number, number * TOKENS)


def automatic(pass_s: float = 1.0) -> AutomaticStepCache:
    """Return one that has seen passes of two images, of which a third exceeds a pass."""
    cache = AutomaticStepCache(EngineLimits(batch_tokens=2 * TOKENS, max_running=8))
    for _ in range(3):
        cache.learn_speed(pass_s, 2 * TOKENS)
    return cache


def test_a_server_that_knows_nothing_yet_computes_everything() -> None:
    new = AutomaticStepCache(EngineLimits(batch_tokens=TOKENS))
    load = Workload.of([request()], FAMILIES["stable-diffusion"], new.sample_tokens)
    assert new.choose(50, remaining_s=1.0, running=load, waiting=load) is StepCache.OFF


@pytest.mark.parametrize(
    ("running", "waiting", "chosen"),
    [
        (images(2), NONE, StepCache.OFF),
        (images(3), NONE, StepCache.QUALITY),
        (images(1), images(1), StepCache.OFF),
        (images(1), images(2), StepCache.QUALITY),
        (Workload(1, 3 * TOKENS), NONE, StepCache.QUALITY),
        (Workload(9, TOKENS), NONE, StepCache.QUALITY),
    ],
)
def test_steps_are_skipped_while_more_is_asked_for_than_one_pass_holds(
    running: Workload, waiting: Workload, chosen: StepCache
) -> None:
    assert automatic().choose(20, math.inf, running, waiting) is chosen


@pytest.mark.parametrize(
    ("family", "guidance", "end", "samples", "calls"),
    [
        ("stable-diffusion", 5.0, 1.0, 2.0, 20),
        ("stable-diffusion", 5.0, 0.5, 1.5, 20),
        ("stable-diffusion", 1.0, 1.0, 1.0, 20),
        ("qwen-image", 5.0, 1.0, 1.0, 40),
        ("qwen-image", 5.0, 0.25, 1.0, 25),
        ("qwen-image", 1.0, 1.0, 1.0, 20),
        ("flux", 3.5, 1.0, 1.0, 20),
        ("ltx-2.3", 5.0, 1.0, 4 / 3, 60),
        ("ltx-2.3", 5.0, 0.5, 1.25, 40),
        ("ltx-2.3", 1.0, 1.0, 1.0, 20),
    ],
)
def test_what_guidance_takes(family: str, guidance: float, end: float, samples: float, calls: float) -> None:
    wanted = request(num_inference_steps=20, guidance_scale=guidance, guidance_end=end)
    assert samples_in_call(wanted, FAMILIES[family]) == samples
    assert denoiser_calls(wanted, FAMILIES[family]) == calls
    load = Workload.of([wanted, wanted.model_copy(update={"num_images": 3})], FAMILIES[family], lambda _: 64)
    assert load == Workload(4, 4 * 64 * samples)


def test_a_size_has_the_tokens_that_it_had_last() -> None:
    cache = AutomaticStepCache(EngineLimits(TOKENS))
    wide, square = request(width=768, height=512), request(width=1024, height=1024)
    cache.learn_size(square, 4000)
    cache.learn_size(wide, 4096)
    cache.learn_size(square, 4096)
    assert (cache.sample_tokens(wide), cache.sample_tokens(square)) == (4096, 4096)
    # Others have as many for each pixel as the last.
    assert cache.sample_tokens(request(width=512, height=512)) == 1024
    assert cache.sample_tokens(request(width=512, height=512, num_frames=5)) == 5 * 1024


def test_layers_count_together() -> None:
    cache = AutomaticStepCache(EngineLimits(TOKENS))
    two, four = (request(layered=True, num_images=number) for number in (2, 4))
    cache.learn_size(four, 6 * 16)
    cache.learn_size(two, 4 * 16)
    assert Workload.of([two, four], FAMILIES["qwen-image-layered"], cache.sample_tokens) == Workload(6, 10 * 16)


def test_the_sizes_denoised_last_are_remembered() -> None:
    cache = AutomaticStepCache(EngineLimits(TOKENS))
    first, second, *others = (request(width=16 * number) for number in range(1, KNOWN_SIZES + 2))
    for each in (first, second, first, *others):
        cache.learn_size(each, 1.0)
    cache.learn_size(others[-1], 0.0)
    assert (cache.sample_tokens(first), cache.sample_tokens(second)) == (1.0, 0.0)


def test_a_deadline_that_would_be_missed_skips_more() -> None:
    # A pass of two such images takes a second.
    assert automatic().choose(20, remaining_s=21.0, running=images(2), waiting=NONE) is StepCache.OFF
    assert automatic().choose(20, remaining_s=19.0, running=images(2), waiting=NONE) is StepCache.FAST
    assert automatic().choose(20, remaining_s=19.0, running=images(1), waiting=NONE) is StepCache.OFF
    assert automatic().choose(20, remaining_s=19.0, running=Workload(1, 2 * TOKENS), waiting=NONE) is StepCache.FAST


def test_encoding_and_decoding_take_their_share_of_the_time() -> None:
    cache = automatic()
    assert cache.choose(20, remaining_s=21.0, running=images(2), waiting=NONE) is StepCache.OFF
    cache.learn_speed(1.0, denoised_tokens=0)
    assert cache.choose(20, remaining_s=21.0, running=images(2), waiting=NONE) is StepCache.FAST


def test_what_was_long_ago_does_not_count() -> None:
    cache = automatic(pass_s=60.0)
    for _ in range(500):
        cache.learn_speed(1.0, 2 * TOKENS)
    assert cache.choose(20, remaining_s=21.0, running=images(2), waiting=NONE) is StepCache.OFF
