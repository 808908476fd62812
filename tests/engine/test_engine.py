"""What a caller of the engine sees: events, cancelling, deadlines, priorities, failures that stay alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import torch
from prometheus_client import REGISTRY

import runners.engine.passes.executor
from core.errors import Busy
from core.generation.events import Failed, Picture, Preview, Queued, Started, Step
from core.generation.hints import UNREAD
from core.generation.request import Priority, Task
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine, EngineLimits
from runners.engine.passes.signatures import tensors_in
from runners.engine.ticket import Ticket
from runners.host.metrics import MetricsObserver
from tests.support.engine.drawing import (
    SIZE_PX,
    draw,
    draw_plain,
    draw_together,
    is_cancelled,
    largest_difference,
    pictures,
    request,
)
from tests.support.engine.engines import CALL_TOKENS, denoiser, running


async def test_events_of_one_request(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        events = await draw(engine, request(progress=True, preview_every=2))
    kinds = [type(event) for event in events]
    assert kinds == [Started, Step, Step, Preview, Step, Step, Preview, Picture]
    assert [(e.step, e.steps) for e in events if isinstance(e, Step)] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert next(e for e in events if isinstance(e, Preview)).image.size == (SIZE_PX // 8, SIZE_PX // 8)


@pytest.mark.parametrize("sampler", ["heun", "dpm2", "dpm2_a_karras"])
async def test_a_sampler_that_denoises_twice_a_step_counts_steps(tiny_model: LoadedModel, sampler: str) -> None:
    for task, taken in ((Task.TEXT_TO_IMAGE, 4), (Task.INPAINT, 2)):
        with running(tiny_model) as (engine, recorder):
            events = await draw(engine, request(task, scheduler=sampler, progress=True, preview_every=2))
            assert len(recorder.batch_sizes("unet")) == 2 * taken - 1
        kinds = [type(event) for event in events if isinstance(event, Step | Preview)]
        assert kinds == [Step, Step, Preview] * (taken // 2)
        assert [(e.step, e.steps) for e in events if isinstance(e, Step)] == [(n + 1, taken) for n in range(taken)]


async def test_without_progress_only_the_picture_comes(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        assert [type(e) for e in await draw(engine, request())] == [Started, Picture]


async def test_tasks_and_step_counts_share_passes(tiny_model: LoadedModel) -> None:
    wanted = [request(task, num_inference_steps=n, strength=1.0) for task in tiny_model.pipelines for n in (5, 8)]
    with running(tiny_model) as (engine, recorder):
        await draw_together(engine, wanted)
    assert max(recorder.batch_sizes("unet")) == len(wanted)
    assert len(recorder.batch_sizes("unet")) < sum(each.num_inference_steps for each in wanted) / 2


async def test_equal_prompts_share_their_encoding(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        await draw_together(engine, [request(seed=seed) for seed in range(4)])
        await draw(engine, request(seed=9))
    assert recorder.batch_sizes("text_encoder") == [1, 1], "the prompt once and the empty negative prompt once"


async def test_encodings_that_fit_are_kept_the_last_longest(
    tiny_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = torch.zeros(1, tiny_model.components["tokenizer"].model_max_length, dtype=torch.long)
    one = sum(tensor.nbytes for tensor in tensors_in(tiny_model.components["text_encoder"](tokens)))
    monkeypatch.setattr(runners.engine.passes.executor, "MEMO_BYTES", 2 * one)
    with running(tiny_model) as (engine, recorder):
        encoded = []
        for prompt in ("a", "b", "a", "c", "a", "b", "c", "a"):
            await draw(engine, request(prompt=prompt, guidance_scale=1.0, num_inference_steps=1))
            encoded.append(len(recorder.of("text_encoder")))
    assert encoded == [1, 2, 2, 3, 3, 4, 5, 6]


async def test_the_budget_bounds_every_pass(tiny_model: LoadedModel) -> None:
    with running(tiny_model, batch_tokens=3 * CALL_TOKENS) as (engine, recorder):
        await draw_together(engine, [request(seed=seed) for seed in range(7)])
    assert max(recorder.batch_sizes("unet")) == 3


async def test_a_request_joins_one_that_is_running(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        first = engine.submit(request(num_inference_steps=900, progress=True)).events()
        await until_step(first, 1)
        late = await draw(engine, request(seed=2))
        await first.aclose()
    assert pictures(late)
    assert 2 in recorder.batch_sizes("unet")
    assert recorder.reports[0].outcome == "done", "the late, short one ended first"


async def until_step(events: AsyncIterator[Any], step: int) -> None:
    async for event in events:
        if isinstance(event, Step) and event.step >= step:
            return


async def test_cancel_stops_at_the_next_step(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, recorder):
        ticket = engine.submit(request(num_inference_steps=900, progress=True))
        events = []
        async for event in ticket.events():
            events.append(event)
            if isinstance(event, Step):
                ticket.cancel()
        assert is_cancelled(events[-1])
        assert len(recorder.batch_sizes("unet")) < 900
        assert engine.running == engine.queued == 0


async def test_leaving_the_stream_cancels(tiny_model: LoadedModel) -> None:
    with running(tiny_model, max_running=1) as (engine, recorder):
        events = engine.submit(request(num_inference_steps=900, progress=True)).events()
        await until_step(events, 1)
        await events.aclose()
        assert pictures(await draw(engine, request()))
    assert [report.outcome for report in recorder.reports] == ["cancelled", "done"]


async def test_a_waiting_request_can_be_cancelled(tiny_model: LoadedModel) -> None:
    with running(tiny_model, max_running=1) as (engine, _):
        first = engine.submit(request(num_inference_steps=900, progress=True)).events()
        await until_step(first, 1)
        waiting = engine.submit(request(seed=2))
        events = []
        async for event in waiting.events():
            events.append(event)
            waiting.cancel()
        queued, last = events
        assert isinstance(queued, Queued)
        assert is_cancelled(last)
        await first.aclose()


async def test_a_deadline_ends_a_request(tiny_model: LoadedModel) -> None:
    now_s = 0.0
    engine = Engine(tiny_model, EngineLimits(batch_tokens=1024), clock=lambda: now_s)
    try:
        events = []
        async for event in engine.submit(request(num_inference_steps=900, progress=True, deadline_s=5)).events():
            events.append(event)
            if isinstance(event, Step):
                now_s = 6.0
        last = events[-1]
        assert isinstance(last, Failed)
        assert (last.code, "5 s" in last.message) == ("deadline_exceeded", True)
    finally:
        engine.close()


async def test_a_full_line_is_busy_and_frees_up(tiny_model: LoadedModel) -> None:
    with running(tiny_model, max_running=1, max_queue=1) as (engine, _):
        first = engine.submit(request(num_inference_steps=900, progress=True)).events()
        await until_step(first, 1)
        waiting = engine.submit(request(seed=2))
        with pytest.raises(Busy, match="1 requests are waiting"):
            engine.submit(request(seed=3))
        await first.aclose()
        assert pictures([event async for event in waiting.events()])


async def test_a_caller_keeps_its_place_until_it_has_taken_its_images(tiny_model: LoadedModel) -> None:
    """Else what slow callers have not taken would pile up in memory."""
    with running(tiny_model, max_running=1, max_queue=0) as (engine, _):
        slow = engine.submit(request()).events()
        while not isinstance(await anext(slow), Picture):
            pass
        with pytest.raises(Busy):
            engine.submit(request(seed=2))
        await slow.aclose()
        assert pictures(await draw(engine, request(seed=2)))


async def test_what_nobody_takes_keeps_no_place() -> None:
    released: list[int] = []
    ticket = Ticket(request(), 0, 0.0, lambda: None, lambda: released.append(1), UNREAD)
    ticket.emit_last(Failed.of(Busy("")))
    assert [event async for event in ticket.events()]
    assert released == [1], "once"


async def test_positions_follow_priority_then_order(tiny_model: LoadedModel) -> None:
    ended: list[str] = []

    async def watch(name: str, priority: Priority) -> None:
        await draw(engine, request(priority=priority))
        ended.append(name)

    with running(tiny_model, max_running=1) as (engine, _):
        blocker = engine.submit(request(num_inference_steps=900, progress=True)).events()
        await until_step(blocker, 1)
        waiting = [
            ("low", Priority.LOW),
            ("first", Priority.NORMAL),
            ("second", Priority.NORMAL),
            ("high", Priority.HIGH),
        ]
        async with asyncio.TaskGroup() as group:
            for name, priority in waiting:
                group.create_task(watch(name, priority))
            async with asyncio.timeout(60):
                while engine.queued < len(waiting):  # noqa: ASYNC110, since engines tell nobody what waits
                    await asyncio.sleep(0.01)
            await blocker.aclose()
    assert ended == ["high", "first", "second", "low"]


async def test_a_failing_request_fails_alone(tiny_model: LoadedModel) -> None:
    def refuse_marked(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        if (others["timestep"] == 999).any():
            raise RuntimeError("secret detail")
        return real(sample, **others)

    wanted = [request(seed=1), request(seed=2, scheduler="lcm"), request(seed=3, num_inference_steps=6)]
    with denoiser(tiny_model, refuse_marked), running(tiny_model) as (engine, _):
        good, bad, also_good = await draw_together(engine, wanted)
    failed = bad[-1]
    assert isinstance(failed, Failed)
    assert failed.code == "generation_failed"
    assert "secret" not in failed.message
    for each, events in ((wanted[0], good), (wanted[2], also_good)):
        assert largest_difference(pictures(events)[0].image, draw_plain(tiny_model, each)) <= 1


async def test_passes_that_cannot_be_shared_are_logged_once_and_counted(
    tiny_model: LoadedModel, caplog: pytest.LogCaptureFixture
) -> None:
    def alone(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        if sample.shape[0] > 2:
            raise ValueError(f"{len(sample)} samples")
        return real(sample, **others)

    with denoiser(tiny_model, alone), running(tiny_model) as (engine, recorder):
        results = await draw_together(engine, [request(seed=seed) for seed in range(3)])
        observer = MetricsObserver("unshared", 1)
        observer.on_failed_pass(recorder.failed[0])
    assert all(pictures(events) for events in results)
    assert len(recorder.failed) == request().num_inference_steps
    assert {(failed.part.component, failed.cause) for failed in recorder.failed} == {("unet", "error")}
    assert caplog.text.count("calls of unet cannot share a pass") == 1
    labels = {"model": "unshared", "replica": "1", "cause": "error"}
    assert REGISTRY.get_sample_value("jubako_failed_passes_total", labels) == 1


async def test_out_of_memory_halves_the_batch(tiny_model: LoadedModel) -> None:
    def small_device(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        if sample.shape[0] > 4:
            raise torch.OutOfMemoryError
        return real(sample, **others)

    with denoiser(tiny_model, small_device), running(tiny_model) as (engine, recorder):
        results = await draw_together(engine, [request(seed=seed) for seed in range(8)])
    assert all(len(pictures(events)) == 1 for events in results)
    assert max(recorder.batch_sizes("unet")) == 2
    assert {failed.cause for failed in recorder.failed} == {"out_of_memory"}


async def test_a_picture_too_large_for_memory_fails_alone(tiny_model: LoadedModel) -> None:
    def small_device(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        if sample.shape[-1] > 8:
            raise torch.OutOfMemoryError
        return real(sample, **others)

    with denoiser(tiny_model, small_device), running(tiny_model) as (engine, _):
        large, small = await draw_together(engine, [request(width=2 * SIZE_PX), request()])
    assert isinstance(large[-1], Failed)
    assert large[-1].code == "out_of_memory"
    assert pictures(small)


async def test_nan_is_one_requests_failure(tiny_model: LoadedModel) -> None:
    def spoil_marked(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        output = real(sample, **others)[0].clone()
        output[others["timestep"] == 999] = torch.nan
        return (output,)

    good = request(seed=1)
    with denoiser(tiny_model, spoil_marked), running(tiny_model) as (engine, _):
        drawn, failed = await draw_together(engine, [good, request(seed=2, scheduler="lcm")])
    assert getattr(failed[-1], "code", "picture") == "non_finite"
    assert largest_difference(pictures(drawn)[0].image, draw_plain(tiny_model, good)) <= 1


async def test_one_of_several_images_failing_ends_the_request_once(tiny_model: LoadedModel) -> None:
    def refuse(real: Any, sample: torch.Tensor, **others: Any) -> Any:
        raise RuntimeError

    with denoiser(tiny_model, refuse), running(tiny_model) as (engine, recorder):
        events = await draw(engine, request(num_images=3))
    assert [type(e) for e in events] == [Started, Failed]
    assert len(recorder.reports) == 1


async def test_a_mistake_in_a_pipeline_does_not_stop_the_engine(tiny_model: LoadedModel) -> None:
    with running(tiny_model) as (engine, _):
        broken, fine = await draw_together(engine, [request(width=63), request()])
        assert isinstance(broken[-1], Failed)
        assert pictures(fine)
        assert engine.running == engine.queued == 0


async def test_closing_cancels_what_is_unfinished(tiny_model: LoadedModel) -> None:
    with running(tiny_model, max_running=1) as (engine, _):
        tickets = [engine.submit(request(seed=seed, num_inference_steps=900)) for seed in range(3)]
    for ticket in tickets:
        assert is_cancelled([event async for event in ticket.events()][-1])
