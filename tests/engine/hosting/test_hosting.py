"""The life of a model in its runner: loaded while requests wait, unloaded without a trace, failed and tried again."""

from __future__ import annotations

import asyncio
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel

from core.generation.events import Failed, Loading, Picture, Step
from models.catalogue.entry import Entry
from models.weights.loading import load
from runners.host.host import Host
from runners.options import HostOptions
from tests.support.engine.drawing import draw_plain, is_cancelled, largest_difference, pictures, request
from tests.support.engine.hosts import LIMITS, drawn, hosting, until, until_step
from tests.support.servers.serving import ENTRY_FIELDS
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    return entry_at(tiny_stable_diffusion(tmp_path_factory.mktemp("sd")))


def entry_at(folder: Path) -> Entry:
    return Entry.model_validate(
        {**ENTRY_FIELDS, "id": "tiny", "family": "stable-diffusion", "source": {"path": folder}}
    )


async def test_the_first_request_loads_the_model_and_hears_how_far_it_is(entry: Entry) -> None:
    async with hosting(entry) as host:
        assert host.state().state == "unloaded"
        events = await drawn(host)
        progress = [event.progress for event in events if isinstance(event, Loading)]
        assert progress == sorted(set(progress))
        assert progress[0] == 0.0
        assert len(pictures(events)) == 1
        state = host.state()
        assert (state.state, state.device, state.dtype, state.progress) == ("ready", "cpu", "float32", 1.0)
        assert 0 < (state.memory_gib or 0) < 0.01
        assert [type(event) for event in await drawn(host)][-1] is Picture


async def test_a_request_that_cannot_wait_for_the_model_passes_its_deadline(entry: Entry) -> None:
    async with hosting(entry) as host:
        failed = (await drawn(host, deadline_s=0.01))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "deadline_exceeded"
        assert host.state().queued == 0
        assert pictures(await drawn(host)), "the load went on"


async def test_time_spent_waiting_for_the_model_counts_towards_the_deadline(entry: Entry) -> None:
    async with hosting(entry) as host:
        loaded_s = await seconds(host.load())
        await host.unload()
        failed = (await drawn(host, deadline_s=loaded_s + 2.0, num_inference_steps=900, num_images=4))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "deadline_exceeded"


async def seconds(work: Any) -> float:
    start = asyncio.get_running_loop().time()
    await work
    return asyncio.get_running_loop().time() - start


async def test_no_more_requests_wait_for_the_model_than_may_wait_for_the_engine(entry: Entry) -> None:
    async with hosting(entry) as host:
        results = await asyncio.gather(*(drawn(host, seed=seed) for seed in range(8)))
    codes = [events[-1].code for events in results if isinstance(events[-1], Failed)]
    assert codes == ["busy"] * 2


async def test_a_failed_load_says_why_and_is_tried_again_after_a_pause(tmp_path: Path) -> None:
    folder = tmp_path / "later"
    async with hosting(entry_at(folder), retry_pause_s=0.5) as host:
        for _ in range(2):
            failed = (await drawn(host))[-1]
            assert isinstance(failed, Failed)
            assert (failed.code, failed.retry_after_s) == ("load_failed", None)
            assert failed.message == "there is no .../later"
        assert host.state().state == "failed"
        assert host.state().error == "there is no .../later"
        tiny_stable_diffusion(folder)
        await asyncio.sleep(0.5)
        assert pictures(await drawn(host))
        assert host.state().error is None


async def test_a_model_too_large_for_the_device_fails_and_the_process_lives(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device is full: as torch says it, from the outermost place where weights are moved there."""

    def full(*_args: Any, **_options: Any) -> None:
        raise torch.OutOfMemoryError

    async with hosting(entry, retry_pause_s=0.0) as host:
        with monkeypatch.context() as patched:
            patched.setattr(torch.nn.Module, "to", full)
            failed = (await drawn(host))[-1]
        assert isinstance(failed, Failed)
        assert "does not fit into the memory of cpu" in failed.message
        assert pictures(await drawn(host))


async def test_a_model_whose_warm_up_fails_is_not_ready(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with an attention kernel that the card does not have."""

    def broken(*_args: Any, **_options: Any) -> None:
        raise RuntimeError("no kernel image is available")

    async with hosting(entry, retry_pause_s=0.0) as host:
        with monkeypatch.context() as patched:
            patched.setattr(UNet2DConditionModel, "forward", broken)
            await host.load()
            assert host.state().state == "failed"
            assert host.state().error == "tiny is loaded, but its first image failed: the model failed"
            failure = host._life.failure
            assert (failure.__traceback__, failure.__cause__, failure.__context__) == (None, None, None), "it is freed"
        assert pictures(await drawn(host))


async def test_memory_that_runs_out_between_passes_ends_one_request(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_args: Any, **_options: Any) -> None:
        raise torch.OutOfMemoryError

    async with hosting(entry) as host:
        await host.load()
        with monkeypatch.context() as patched:
            patched.setattr(StableDiffusionPipeline, "prepare_latents", full)
            failed = (await drawn(host))[-1]
        assert isinstance(failed, Failed)
        assert failed.code == "out_of_memory"
        assert pictures(await drawn(host))


async def test_a_device_that_is_not_there_is_named(entry: Entry) -> None:
    host = Host(entry, LIMITS, HostOptions(device="xpu:7"))
    failed = (await drawn(host))[-1]
    assert isinstance(failed, Failed)
    assert "there is no xpu:7 on this machine; it has cpu" in failed.message


async def test_unloading_waits_for_running_requests_and_new_ones_load_again(entry: Entry) -> None:
    plain = draw_plain(load(entry, "cpu"), request(num_inference_steps=40))
    async with hosting(entry) as host:
        running = host.generate(request(num_inference_steps=40, progress=True))
        await until_step(running)
        unloading = asyncio.create_task(host.unload())
        await until(lambda: host.state().state == "unloading")
        late = asyncio.create_task(drawn(host, seed=3))
        rest = [event async for event in running]
        assert largest_difference(pictures(rest)[0].image, plain) <= 1
        await unloading
        events = await late
        assert isinstance(events[0], Loading)
        assert pictures(events)


async def test_a_forced_unload_cancels_what_is_running(entry: Entry) -> None:
    async with hosting(entry) as host:
        running = host.generate(request(num_inference_steps=900, progress=True))
        await until_step(running)
        await host.unload(force=True)
        assert host.state().state == "unloaded"
        assert is_cancelled([event async for event in running][-1])


async def test_nothing_keeps_unloaded_weights_alive(entry: Entry) -> None:
    async with hosting(entry) as host:
        await drawn(host, num_images=2, progress=True)
        assert host._life.running is not None
        weights = [
            weakref.ref(parameter)
            for component in host._life.running.model.components.values()
            if isinstance(component, torch.nn.Module)
            for parameter in component.parameters()
        ]
        assert len(weights) > 100
        await host.unload()
        gc.collect()
        assert [reference for reference in weights if reference() is not None] == []


async def test_an_idle_model_is_unloaded_and_comes_back(entry: Entry) -> None:
    async with hosting(entry, idle_unload_s=0.3) as host:
        await drawn(host)
        await until(lambda: host.state().state == "unloaded")
        assert pictures(await drawn(host))


async def test_a_model_that_draws_is_not_idle(entry: Entry) -> None:
    async with hosting(entry, idle_unload_s=0.2) as host:
        running = host.generate(request(num_inference_steps=200, progress=True))
        states = {host.state().state async for event in running if isinstance(event, Step)}
        assert states == {"ready"}


async def test_loading_again_on_the_same_device_changes_nothing(entry: Entry) -> None:
    async with hosting(entry) as host:
        await host.load()
        model = host._life.running
        await host.load("cpu")
        assert host._life.running is model
