"""What must not hold a host up: slow downloads, requests that a forced unload cancels, memory that stays taken."""

from __future__ import annotations

import asyncio
import os
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from core.generation.events import Failed, Loading
from core.generation.request import Method, Task
from models.catalogue.catalogue import full_catalogue
from models.catalogue.entry import Entry
from processes.threads import in_thread
from runners.engine.lost_device import is_lost
from tests.support.engine.drawing import is_cancelled, photo, pictures, request
from tests.support.engine.hosts import drawn, hosting, until, until_step
from tests.support.servers.forked import run_forked
from tests.support.servers.serving import ENTRY_FIELDS, LIMITS, ROOT
from tests.tiny.controlnets import tiny_controlnets
from tests.tiny.images.stable_diffusion import tiny_stable_diffusion

CONTROL: dict[str, Any] = {"control_image": photo(seed=4), "control_type": "canny"}


@pytest.fixture(scope="module")
def fields(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sd")
    checkpoint = tiny_stable_diffusion(folder)
    return {
        **ENTRY_FIELDS,
        "id": "tiny",
        "family": "stable-diffusion",
        "source": {"path": checkpoint},
        "controlnets": {kind: net.model_dump() for kind, net in tiny_controlnets(checkpoint, folder).items()},
    }


@pytest.fixture(scope="module")
def entry(fields: dict[str, Any]) -> Entry:
    return Entry.model_validate(fields)


class Slow:
    """Loads a ControlNet until it may end, and fails then."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.may_end = threading.Event()

    def load(self, *_args: Any) -> None:
        self.threads.append(threading.current_thread())
        self.may_end.wait(60)
        raise OSError("the hub is gone")


class TestPreparations:
    @pytest.fixture
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> Slow:
        slow = Slow()
        monkeypatch.setattr("runners.engine.views.optional_weights.load_controlnet", slow.load)
        return slow

    async def test_they_end_with_the_deadline_and_count_as_queued(self, entry: Entry, slow: Slow) -> None:
        async with hosting(entry) as host:
            await host.load()
            requests = [asyncio.create_task(drawn(host, deadline_s=2, **CONTROL)) for _ in range(40)]
            await until(lambda: slow.threads)
            assert host.state().queued == 6
            last = [events[-1] for events in await asyncio.gather(*requests)]
            assert host.state().queued == 0
            slow.may_end.set()
        codes = Counter(event.code for event in last if isinstance(event, Failed))
        assert codes == {"busy": 34, "deadline_exceeded": 6}
        assert len(slow.threads) == 1, "they share the work"

    async def test_a_failure_is_told_to_all_who_wait(self, entry: Entry, slow: Slow) -> None:
        async with hosting(entry) as host:
            waiting = [asyncio.create_task(drawn(host, **CONTROL)) for _ in range(2)]
            await until(lambda: slow.threads and host.state().queued == 2)
            slow.may_end.set()
            results = await asyncio.gather(*waiting)
            assert [event.code for events in results if isinstance(event := events[-1], Failed)] == [
                "generation_failed"
            ] * 2
            assert pictures(await drawn(host)), "others need none"

    async def test_force_cancels_those_that_wait(self, entry: Entry, slow: Slow) -> None:
        async with hosting(entry) as host:
            await host.load()
            waiting = asyncio.create_task(drawn(host, **CONTROL))
            await until(lambda: slow.threads)
            await host.unload(force=True)
            assert is_cancelled((await waiting)[-1])
            slow.may_end.set()


class TestForce:
    @pytest.mark.parametrize("change", ["unload", "move"])
    async def test_it_cancels_what_a_change_in_progress_waits_for(self, entry: Entry, change: str) -> None:
        async with hosting(entry) as host:
            running = host.generate(request(num_inference_steps=900, progress=True))
            await until_step(running)
            if change == "move":
                assert host._life.running is not None
                # There is no second device here; a model on another one looks like this to the host.
                object.__setattr__(host._life.running.model, "device", torch.device("meta"))
            slow = asyncio.ensure_future(host.unload() if change == "unload" else host.load())
            await until(lambda: host._life.state in ("unloading", "loading"))
            async with asyncio.timeout(30):
                await host.unload(force=True)
                await slow
            assert host.state().state == "unloaded"
            assert is_cancelled([event async for event in running][-1])

    async def test_it_stops_token_optimisations(self) -> None:
        miniature = full_catalogue(None).get("miniature")
        async with hosting(miniature) as host:
            await host.load()
            wanted = request(Task.INPAINT, method=Method.TOKEN_OPT, iterations=600, strength=1.0, progress=True)
            first, second = host.generate(wanted), asyncio.create_task(drawn(host, **dict(wanted)))
            await until_step(first)
            async with asyncio.timeout(30):
                await host.unload(force=True)
            assert is_cancelled([event async for event in first][-1])
            assert is_cancelled((await second)[-1])

    async def test_it_does_not_outlast_itself(self, entry: Entry) -> None:
        async with hosting(entry) as host:
            await host.unload(force=True)
            running = host.generate(request(num_inference_steps=40, progress=True))
            await until_step(running)
            unloading = asyncio.create_task(host.unload())
            assert pictures([event async for event in running])
            await unloading


class TestFailures:
    async def test_memory_that_cannot_be_freed_leaves_a_model_that_loads_again(
        self, entry: Entry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail() -> None:
            raise RuntimeError("CUDA error: misaligned address")

        async with hosting(entry) as host:
            await host.load()
            with monkeypatch.context() as patched:
                patched.setattr("runners.host.lifecycle.free_memory", fail)
                await host.unload()
                assert host.state().state == "unloaded"
                assert pictures(await drawn(host))

    async def test_a_load_that_fails_whatever_it_does_is_tried_once_in_a_pause(
        self, entry: Entry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts = 0

        def fail(*_args: Any, **_options: Any) -> None:
            nonlocal attempts
            attempts += 1
            raise RuntimeError("CUDA error: misaligned address")

        monkeypatch.setattr("runners.host.lifecycle.load", fail)
        monkeypatch.setattr("runners.host.lifecycle.free_memory", fail)
        async with hosting(entry) as host:
            last = [(await drawn(host))[-1] for _ in range(3)]
            assert [event.code for event in last if isinstance(event, Failed)] == ["load_failed"] * 3
            assert host.state().state == "failed"
        assert attempts == 2, "one load, and what it did not let go of"

    async def test_who_leaves_work_in_a_thread_leaves_no_trace(self, monkeypatch: pytest.MonkeyPatch) -> None:
        unhandled: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", unhandled.append)
        begun, may_end, ended = threading.Event(), threading.Event(), threading.Event()

        def work() -> None:
            begun.set()
            may_end.wait()
            threading.Timer(0.2, ended.set).start()

        task = asyncio.create_task(in_thread(work))
        await until(begun.is_set)
        task.cancel()
        await asyncio.wait({task})
        may_end.set()
        await asyncio.to_thread(ended.wait)
        assert unhandled == []

    async def test_a_model_that_needs_more_steps_than_a_warm_up_has_is_loaded(self, fields: dict[str, Any]) -> None:
        entry = Entry.model_validate({**fields, "limits": {**LIMITS, "min_steps": 3}})
        async with hosting(entry) as host:
            events = await drawn(host)
            assert isinstance(events[0], Loading)
            assert pictures(events)


class TestLostDevice:
    def test_a_device_that_fails_whatever_is_asked_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(_device: Any) -> None:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

        assert not is_lost("cpu")
        monkeypatch.setattr(torch.accelerator, "synchronize", lambda _device: None)
        assert not is_lost("cuda:0")
        monkeypatch.setattr(torch.accelerator, "synchronize", fail)
        assert is_lost("cuda:0")

    def test_its_process_ends_with_a_line_in_the_log(self, tmp_path: Path) -> None:
        """In a process of its own, whose engine is told that its device is lost."""
        tiny_stable_diffusion(tmp_path)
        script = f"""
import asyncio, logging, runners.engine.lost_device
logging.basicConfig()
runners.engine.lost_device.is_lost = lambda device: True
from pathlib import Path
from models.catalogue.families import FAMILIES
from models.weights.loading import LoadedModel, load_pipelines
import torch
from runners.engine.engine import Engine, EngineLimits
from tests.support.engine.drawing import draw, request
family = FAMILIES["stable-diffusion"]
model = LoadedModel("tiny", family, load_pipelines(family, {str(tmp_path)!r}), torch.device("cpu"))
def fail(*args, **options):
    raise RuntimeError("CUDA error: an illegal memory access was encountered")
model.components["unet"].forward = fail
asyncio.run(draw(Engine(model, EngineLimits(1024)), request()))
"""
        ended = run_forked(["-c", script], os.environ, ROOT)
        assert ended.returncode == 70, ended.stderr
        assert "CRITICAL:jubako.engine:cpu is lost after an error on it; this process ends" in ended.stderr
