"""Steps that are predicted are not computed, per image, and images that share passes with it do not notice."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pytest
import torch
from torch.utils import _pytree as pytree

from core.generation.events import Event, Failed, Picture, Preview, Result, Step
from core.generation.request import GenerationRequest, Task
from core.generation.step_cache import StepCache
from models.catalogue.families import CallStage, Unguided
from models.weights.loading import LoadedModel
from runners.engine.step_cache import denoising_steps, policy
from runners.engine.step_cache.automatic import AutomaticStepCache
from runners.engine.step_cache.call_site import CallSite
from runners.engine.step_cache.policy import Policy
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import (
    draw,
    draw_plain,
    draw_together,
    frames_of,
    largest_difference,
    photo,
    plain_frames,
    request,
)
from tests.support.engine.engines import CALL_TOKENS, denoiser, running
from tests.support.engine.hosts import until
from tests.support.engine.loras import loaded, wearing
from tests.support.engine.parity import TOLERANCE, load_conditioned, load_tiny
from tests.tiny import TINY, Tiny
from tests.tiny.images.qwen_image import shrink_inputs
from tests.tiny.videos.wan import tiny_wan_a14b

STEPS = 12
SKIPPED = [4, 6, 8, 10]
"""Steps of 12 that are predicted where every error is tolerated, and one step at a time."""
A14B = Tiny(tiny_wan_a14b, "flow_euler", num_frames=5)
FAMILIES = ("stable-diffusion", "stable-diffusion-3", "flux2-klein", "qwen-image", "z-image", "wan", "ltx", "ltx-2")
"""At least one for each way to ask for the unguided half, and for each form of a denoiser's output."""


@pytest.fixture(autouse=True)
def _tolerant(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights go on less evenly than trained ones: here, whatever may be predicted is."""
    monkeypatch.setitem(policy.POLICIES, StepCache.QUALITY, Policy(tolerance=1e9, longest_share=0.01))


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink_inputs(monkeypatch)


def cached(**changes: Any) -> GenerationRequest:
    usual: dict[str, Any] = {"num_inference_steps": STEPS, "step_cache": StepCache.QUALITY, "progress": True}
    return request(**(usual | changes))


def skipped(events: list[Event]) -> list[int]:
    return [event.step - 1 for event in events if isinstance(event, Step) and event.skipped]


def result(events: list[Event]) -> Result:
    assert isinstance(events[-1], Result), events[-1]
    return events[-1]


async def test_a_predicted_step_has_no_pass_and_is_said_so(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        events = await draw(engine, cached())
    assert skipped(events) == SKIPPED
    assert (result(events).step_cache, result(events).skipped_steps) == (StepCache.QUALITY, len(SKIPPED))
    assert len(recorder.batch_sizes("unet")) == STEPS - len(SKIPPED)


async def test_without_a_cache_nothing_is_predicted(tiny_model: LoadedModel) -> None:
    wanted = cached(step_cache=StepCache.OFF)
    with running(tiny_model) as (engine, recorder):
        events = await draw(engine, wanted)
    assert (skipped(events), result(events).skipped_steps) == ([], 0)
    assert len(recorder.batch_sizes("unet")) == STEPS


async def test_neighbours_go_on_as_if_alone(tiny_model: LoadedModel) -> None:
    neighbours = [request(num_inference_steps=STEPS, seed=seed) for seed in (1, 2)]
    with running(tiny_model) as (engine, recorder):
        alone = await draw(engine, cached())
        recorder.passes.clear()
        *others, together = await draw_together(engine, [*neighbours, cached()])
    assert sorted(recorder.batch_sizes("unet")) == [2] * len(SKIPPED) + [3] * (STEPS - len(SKIPPED))
    for wanted, events in zip(neighbours, others, strict=True):
        assert largest_difference(_picture(events), draw_plain(tiny_model, wanted)) <= TOLERANCE
    assert largest_difference(_picture(alone), _picture(together)) <= TOLERANCE


def _picture(events: list[Event]) -> Any:
    return frames_of(result(events))[0]


async def test_each_image_of_a_request_decides_for_itself(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        events = await draw(engine, cached(num_images=2))
    assert [event.skipped_steps for event in events if isinstance(event, Picture)] == [len(SKIPPED)] * 2
    for index in (0, 1):
        own = [event for event in events if isinstance(event, Step) and event.index == index]
        assert [event.step - 1 for event in own if event.skipped] == SKIPPED


async def test_a_sampler_that_errs_is_not_followed(tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(policy.POLICIES, StepCache.QUALITY, Policy(tolerance=1e-9, longest_share=1))
    with running(tiny_model) as (engine, _):
        assert skipped(await draw(engine, cached())) == []


@pytest.mark.parametrize("scheduler", ["euler_a", "heun", "dpm++_2m_karras", "lcm", "pndm", "unipc"])
async def test_all_samplers_end_with_an_image(tiny_model: LoadedModel, scheduler: str) -> None:
    name = tiny_model.family.schedulers.find(scheduler)
    assert name is not None
    with running(tiny_model) as (engine, _):
        events = await draw(engine, cached(scheduler=name))
    steps = [event.step for event in events if isinstance(event, Step)]
    assert steps == list(range(1, steps[-1] + 1))
    assert result(events).skipped_steps > 0


async def test_a_controlnet_rests_with_its_denoiser(conditioned_model: LoadedModel) -> None:
    wanted = cached(control_image=photo(seed=4), control_type="canny", reference_image=photo(seed=6))
    with running(conditioned_model) as (engine, recorder):
        events = await draw(engine, wanted)
    assert skipped(events) == SKIPPED
    assert len(recorder.batch_sizes("controlnet")) == len(recorder.batch_sizes("unet")) == STEPS - len(SKIPPED)


@pytest.mark.parametrize("family", ["qwen-image", "z-image"])
async def test_a_controlnet_rests_with_its_denoiser_however_that_is_guided(family: str, tmp_path: Path) -> None:
    control = {"control_image": photo(seed=4), "control_type": "canny"}
    wanted = cached(scheduler="flow_euler", guidance_end=0.5, **control)
    with running(load_conditioned(family, tmp_path), batch_tokens=2**16) as (engine, recorder):
        events = await draw(engine, wanted)
    left = STEPS - len(skipped(events))
    assert left < STEPS
    assert len(recorder.batch_sizes("controlnet")) == left


async def test_images_that_start_from_one_count_their_own_steps(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        events = await draw(engine, cached(task=Task.IMAGE_TO_IMAGE, strength=0.5))
    own = STEPS // 2
    assert len(recorder.batch_sizes("unet")) == own - result(events).skipped_steps
    assert skipped(events) == [4]


async def test_previews_come_for_predicted_steps_too(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        events = await draw(engine, cached(preview_every=1))
    assert [event.step for event in events if isinstance(event, Preview)] == list(range(1, STEPS + 1))


async def test_a_step_that_denoises_twice_is_skipped_in_whole(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        events = await draw(engine, cached(scheduler="heun"))
    assert (skipped(events), result(events).skipped_steps) == (SKIPPED, len(SKIPPED))
    # The last step denoises once.
    assert len(recorder.batch_sizes("unet")) == 2 * (STEPS - len(SKIPPED)) - 1


async def test_another_denoiser_that_takes_over_is_computed(tmp_path: Path) -> None:
    model = load_tiny("wan", tmp_path, A14B)
    wanted = crowd("wan", A14B)[0].model_copy(
        update={"num_inference_steps": STEPS, "step_cache": StepCache.QUALITY, "progress": True}
    )
    with running(model, batch_tokens=2**16) as (engine, recorder):
        events = await draw(engine, wanted)
    calls = [len(recorder.batch_sizes(name)) for name in ("transformer", "transformer_2")]
    # Two each step, one of them without the prompt.
    assert all(calls)
    assert sum(calls) == 2 * (STEPS - result(events).skipped_steps)
    assert len(skipped(events)) == result(events).skipped_steps > 0


async def test_loras_are_cached_in_a_crowd_as_alone(tmp_path: Path) -> None:
    model, _ = loaded("stable-diffusion", tmp_path)
    wanted = [cached(), wearing(cached(), a=1.0), wearing(cached(), a=0.3, b=1.0)]
    with running(model) as (engine, recorder):
        alone = [await draw(engine, each) for each in wanted]
        recorder.passes.clear()
        together = await draw_together(engine, wanted)
    assert max(recorder.batch_sizes("unet")) == len(wanted)
    assert [skipped(events) for events in together] == [SKIPPED] * len(wanted)
    for one, other in zip(alone, together, strict=True):
        assert largest_difference(_picture(one), _picture(other)) <= TOLERANCE
    assert largest_difference(_picture(alone[0]), _picture(alone[1])) > 5


async def test_passes_that_ran_out_of_memory_change_nothing(tiny_model: LoadedModel) -> None:
    def small_device(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        if sample.shape[0] > 2:
            raise torch.OutOfMemoryError
        return real(sample, **others)

    wanted = [cached(seed=1), cached(seed=2, num_images=2)]
    with running(tiny_model) as (engine, recorder):
        enough = await draw_together(engine, wanted)
        with denoiser(tiny_model, small_device):
            short = await draw_together(engine, wanted)
    assert {failed.cause for failed in recorder.failed} == {"out_of_memory"}
    for one, other in zip(enough, short, strict=True):
        pairs = list(zip(_pictures(one), _pictures(other), strict=True))
        assert all(a.skipped_steps == b.skipped_steps == len(SKIPPED) for a, b in pairs)
        assert max(largest_difference(a.image, b.image) for a, b in pairs) <= TOLERANCE
        assert len(skipped(other)) == len(pairs) * len(SKIPPED)


def _pictures(events: list[Event]) -> list[Picture]:
    return sorted((event for event in events if isinstance(event, Picture)), key=lambda picture: picture.index)


@pytest.fixture
def call_sites(monkeypatch: pytest.MonkeyPatch) -> Iterator[WeakSet[CallSite]]:
    """Those that are alive; nothing is collected but what nobody refers to."""
    alive = WeakSet[CallSite]()

    def made(policy: Policy) -> CallSite:
        site = CallSite(policy)
        alive.add(site)
        return site

    monkeypatch.setattr(denoising_steps, "CallSite", made)
    gc.disable()
    yield alive
    gc.enable()


async def test_outputs_are_dropped_when_a_request_ends(tiny_model: LoadedModel, call_sites: WeakSet[CallSite]) -> None:
    with running(tiny_model) as (engine, _):
        await draw(engine, cached())
        await until(lambda: not call_sites)  # The engine's thread lets go a little later.
        ticket = engine.submit(cached(num_images=2, num_inference_steps=900))
        events = ticket.events()
        while not (isinstance(event := await anext(events), Step) and event.skipped):
            pass
        assert call_sites
        ticket.cancel()
        await until(lambda: not call_sites)


async def test_outputs_are_dropped_when_a_request_fails(tiny_model: LoadedModel, call_sites: WeakSet[CallSite]) -> None:
    had = []

    def failing(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        had.append(len(call_sites))
        if len(had) == 5:
            raise RuntimeError
        return real(sample, **others)

    with denoiser(tiny_model, failing), running(tiny_model) as (engine, _):
        assert isinstance((await draw(engine, cached()))[-1], Failed)
        await until(lambda: not call_sites)
    assert had[-1] == 1


async def test_reproducible_images_are_the_same_in_a_crowd(tiny_model: LoadedModel) -> None:
    wanted = cached(reproducible=True)
    with running(tiny_model) as (engine, _):
        alone = await draw(engine, wanted)
        together, _other = await draw_together(engine, [wanted, request(num_inference_steps=STEPS, seed=3)])
    assert largest_difference(_picture(alone), _picture(together)) == 0


async def test_automatic_requests_skip_only_while_the_server_is_behind(tiny_model: LoadedModel) -> None:
    automatic = [cached(seed=seed, step_cache=StepCache.AUTO) for seed in range(4)]
    with running(tiny_model, max_running=1) as (engine, _):
        [alone] = await draw_together(engine, automatic[:1])
        crowded = await draw_together(engine, automatic)
    assert result(alone).step_cache is StepCache.OFF
    # Before the first starts, the others need not have come.
    assert [result(events).step_cache for events in crowded[1:]] == [
        StepCache.QUALITY,
        StepCache.QUALITY,
        StepCache.OFF,
    ]


async def test_automatic_requests_count_their_own_size(tiny_model: LoadedModel) -> None:
    one, five = (cached(num_images=number, step_cache=StepCache.AUTO) for number in (1, 5))
    with running(tiny_model, batch_tokens=4 * CALL_TOKENS) as (engine, _):
        chosen = [result(await draw(engine, wanted)).step_cache for wanted in (one, five, one)]
    assert chosen == [StepCache.OFF, StepCache.QUALITY, StepCache.OFF]


async def test_automatic_requests_count_what_their_own_size_is_padded_to(tmp_path: Path) -> None:
    """HiDream computes four times the tokens for half of the pixels, where these are not square."""
    square, wide = (cached(scheduler="unipc", num_inference_steps=2, height=side) for side in (64, 32))
    two = {"num_images": 2, "step_cache": StepCache.AUTO}
    wanted = [square, wide, square.model_copy(update=two), wide.model_copy(update=two)]
    with running(load_tiny("hidream", tmp_path), batch_tokens=128) as (engine, _):
        chosen = [result(await draw(engine, each)).step_cache for each in wanted]
    assert chosen[2:] == [StepCache.OFF, StepCache.QUALITY]


@pytest.mark.usefixtures("_quick")
async def test_automatic_requests_count_their_layers_together(tmp_path: Path) -> None:
    three = request(
        Task.EDIT,
        images=(photo(),),
        scheduler="flow_euler",
        num_images=3,
        layered=True,
        num_inference_steps=2,
        step_cache=StepCache.AUTO,
    )
    with running(load_tiny("qwen-image-layered", tmp_path), batch_tokens=80) as (engine, recorder):
        chosen = [result(await draw(engine, three)).step_cache for _ in range(2)]
    # Three layers, what they make together, and the image that is taken apart.
    assert {each.tokens for each in recorder.passes if each.part.stage is CallStage.DENOISE} == {5 * 16}
    assert chosen == [StepCache.OFF, StepCache.OFF]


async def test_automatic_requests_count_their_own_guidance(tiny_model: LoadedModel) -> None:
    """Whatever came before: the last calls of the first have half of the tokens, and those of the third always."""
    half_guided = cached(step_cache=StepCache.OFF, guidance_end=0.5)
    five = cached(num_images=5, step_cache=StepCache.AUTO, num_inference_steps=2)
    unguided = five.model_copy(update={"guidance_scale": 1.0})
    with running(tiny_model, batch_tokens=4 * CALL_TOKENS) as (engine, _):
        chosen = [result(await draw(engine, wanted)).step_cache for wanted in (half_guided, five, unguided, five)]
    assert chosen[1:] == [StepCache.QUALITY, StepCache.OFF, StepCache.QUALITY]


async def test_automatic_requests_that_would_be_late_skip_more(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen, choose = [], AutomaticStepCache.choose

    def watched(*args: Any) -> StepCache:
        chosen.append(choose(*args))
        return chosen[-1]

    monkeypatch.setattr(AutomaticStepCache, "choose", watched)
    with running(tiny_model) as (engine, _):
        await draw(engine, request())
        late = await draw(engine, cached(step_cache=StepCache.AUTO, num_inference_steps=900, deadline_s=0.1))
    assert isinstance(late[-1], Failed)
    assert chosen == [StepCache.FAST]


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("family", FAMILIES)
async def test_every_family_is_cached_in_a_crowd_as_alone(family: str, tmp_path: Path) -> None:
    model = load_tiny(family, tmp_path)
    first, second = (each.model_copy(update={"num_inference_steps": 9}) for each in crowd(family, TINY[family])[:2])
    wanted = first.model_copy(update={"step_cache": StepCache.QUALITY, "guidance_end": 0.6})
    with running(model, batch_tokens=2**16) as (engine, _):
        alone = await draw(engine, wanted)
        together, neighbour = await draw_together(engine, [wanted, second])
    assert result(alone).skipped_steps == result(together).skipped_steps > 0
    assert _difference(frames_of(result(alone)), frames_of(result(together))) <= TOLERANCE
    assert _difference(frames_of(result(neighbour)), plain_frames(model, second)) <= TOLERANCE


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("family", FAMILIES)
async def test_the_unguided_half_is_left_out_after_its_share(family: str, tmp_path: Path) -> None:
    model = load_tiny(family, tmp_path)
    wanted = crowd(family, TINY[family])[0].model_copy(update={"num_inference_steps": 6, "guidance_end": 0.5})
    with running(model, batch_tokens=2**16) as (engine, recorder):
        events = await draw(engine, wanted)
    rows = [each.samples for each in recorder.passes if each.part.component == model.family.denoiser]
    assert sum(rows) == (2 + model.family.perturbed_calls) * 3 + 3
    with conditional_from(model, first_step=3):
        expected = plain_frames(model, wanted)
    assert _difference(frames_of(result(events)), expected) <= TOLERANCE


def _difference(some: list[Any], others: list[Any]) -> int:
    return max(largest_difference(one, other) for one, other in zip(some, others, strict=True))


@contextmanager
def conditional_from(model: LoadedModel, first_step: int) -> Iterator[None]:
    """Let a denoiser answer for the unguided half, and where it is perturbed, as for the other half, from a step on."""
    module, how = model.components[model.family.denoiser], model.family.unguided
    calls_in_step = 2 if how is Unguided.SECOND_CALL else 1 + model.family.perturbed_calls
    plain, calls, last = module.forward, count(), [None]

    def forward(*args: Any, **kwargs: Any) -> Any:
        step, place = divmod(next(calls), calls_in_step)
        output = plain(*args, **kwargs)
        if step < first_step:
            return output
        if how is Unguided.SECOND_CALL:
            last[0] = last[0] if place else output
            return last[0]
        if place:
            return pytree.tree_map(lambda leaf: leaf[1:], last[0])
        last[0] = pytree.tree_map(_halved(how), output, is_leaf=_is_list_of_two)
        return last[0]

    module.forward = forward
    try:
        yield
    finally:
        module.forward = plain


def _is_list_of_two(node: Any) -> bool:
    return isinstance(node, list) and len(node) == 2


def _halved(how: Unguided | None) -> Callable[[Any], Any]:
    kept = 0 if how is Unguided.SECOND_HALF else 1
    return lambda leaf: torch.stack([leaf[kept]] * 2) if isinstance(leaf, torch.Tensor) else [leaf[kept]] * 2
