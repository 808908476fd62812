"""One denoiser over two real processes, by gloo on the CPU."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from core.generation.events import Failed, Step
from core.generation.request import GenerationRequest
from models.catalogue.entry import Entry
from models.weights import devices
from models.weights.loading import LoadedModel
from runners.engine.engine import Engine
from runners.host import host as host_module
from runners.host.host import Host
from runners.options import HostOptions
from runners.parallel import group as group_module
from runners.parallel.group import Group
from tests.support.engine.crowds import crowd
from tests.support.engine.drawing import (
    draw,
    draw_together,
    frames_of,
    is_cancelled,
    largest_difference,
    pictures,
    plain_frames,
    request,
    results,
)
from tests.support.engine.engines import running
from tests.support.engine.groups import TOO_MANY_PX, grouped
from tests.support.engine.hosts import LIMITS, hosting
from tests.support.engine.parity import BATCH_TOKENS, TOLERANCE, load_tiny
from tests.support.engine.recorder import Recorder
from tests.support.servers.serving import ENTRY_FIELDS
from tests.tiny import TINY
from tests.tiny.images.flux import tiny_flux_schnell

DEFAULTS: Any = ENTRY_FIELDS["defaults"]


@dataclass(frozen=True)
class Pair:
    """A model that two processes compute, and the same of one process."""

    group: Group
    engine: Engine
    passes: Recorder
    plain: LoadedModel


@pytest.fixture(params=["qwen-image", "wan", "flux"])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pair]:
    """Of each test, since a process can be in one group only."""
    model, plain = load_tiny(request.param, tmp_path), load_tiny(request.param, tmp_path)
    with grouped(model) as group, running(model, batch_tokens=BATCH_TOKENS) as (engine, passes):
        yield Pair(group, engine, passes, plain)


async def test_crowds_are_drawn_as_by_one_process(pair: Pair) -> None:
    family = pair.plain.family.name
    # Entries that are computed by several processes take neither ControlNets nor an IP-Adapter.
    plain = [each for each in crowd(family, TINY[family]) if each.control_type is None and each.reference_image is None]
    wanted = [each for each in plain if not each.task.takes_image]
    assert len({each.prompt for each in wanted}) > 2, "of different lengths"
    for each, events in zip(wanted, await draw_together(pair.engine, wanted), strict=True):
        (drawn,) = results(events)
        pairs = zip(frames_of(drawn), plain_frames(pair.plain, each), strict=True)
        assert max(largest_difference(one, other) for one, other in pairs) <= TOLERANCE
    assert max(pair.passes.denoising) > 1


def one_of(pair: Pair, **changes: Any) -> GenerationRequest:
    """Return a request of one picture, or of a clip of one frame, whose denoiser is called once a step."""
    family = pair.plain.family
    task = next(iter(family.pipelines))
    frames = {"num_frames": 1, "fps": 8} if task.is_video else {}
    return request(task, **{"scheduler": TINY[family.name].scheduler, "guidance_scale": 1.0, **frames, **changes})


class TestFailures:
    async def test_a_request_is_cancelled_between_calls_and_another_goes_on(self, pair: Pair) -> None:
        wanted = one_of(pair, num_inference_steps=6)
        other = asyncio.create_task(draw(pair.engine, wanted))
        ticket = pair.engine.submit(wanted.model_copy(update={"progress": True, "num_inference_steps": 500}))
        last = None
        async for last in ticket.events():
            if isinstance(last, Step):
                ticket.cancel()
        assert is_cancelled(last)
        (drawn,) = results(await other)
        assert largest_difference(frames_of(drawn)[0], plain_frames(pair.plain, wanted)[0]) <= TOLERANCE

    async def test_what_runs_out_of_memory_in_one_process_is_halved_for_all(self, pair: Pair) -> None:
        wanted = one_of(pair, width=TOO_MANY_PX, height=TOO_MANY_PX, num_images=2)
        drawn = results(await draw(pair.engine, wanted))
        assert [failed.cause for failed in pair.passes.failed] == ["out_of_memory"]
        assert [each.index for each in drawn] == [0, 1]
        for each in drawn:
            plain = plain_frames(pair.plain, wanted, each.index)
            assert largest_difference(frames_of(each)[0], plain[0]) <= TOLERANCE

    async def test_the_end_of_a_process_ends_the_runner(self, monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
        ended = threading.Event()
        monkeypatch.setattr(group_module, "end_process", lambda *_: ended.set())
        wanted = one_of(pair, num_inference_steps=500, progress=True)
        last = None
        async with asyncio.timeout(60):
            async for last in pair.engine.submit(wanted).events():
                if isinstance(last, Step) and last.step == 3:
                    (helper,) = pair.group.helpers
                    assert helper is not None
                    os.kill(helper, signal.SIGKILL)
        assert isinstance(last, Failed)
        assert ended.wait(60)


def over_two(checkpoint: Path) -> Entry:
    return Entry.model_validate(
        {
            **ENTRY_FIELDS,
            "id": "tiny",
            "family": "flux-schnell",
            "source": {"path": checkpoint},
            "defaults": DEFAULTS | {"scheduler": "flow_euler"},
            "parallel": {"ulysses": 2},
        }
    )


def test_a_host_says_which_other_devices_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of cards that are only simulated: residency makes room on all of them."""
    there = ["cpu", *(f"cuda:{number}" for number in range(4))]
    for module in (host_module, devices):
        monkeypatch.setattr(module, "available_devices", lambda: there)
    monkeypatch.setattr(host_module, "device_memory_gib", lambda _device: 24.0)
    monkeypatch.setattr(host_module, "cards", dict)
    state = Host(over_two(Path("nowhere")), LIMITS, HostOptions(device="cuda:2")).state()
    assert (state.device, state.also_on) == ("cuda:2", ("cuda:3",))
    assert state.occupied == {"cuda:2", "cuda:3"}


async def test_a_host_starts_the_processes_with_its_model_and_ends_them_with_it(tmp_path: Path) -> None:
    """As `python -m`, which the others spare themselves."""
    entry = over_two(tiny_flux_schnell(tmp_path))
    wanted = request(scheduler="flow_euler", guidance_scale=0.0)
    async with hosting(entry) as host:
        assert pictures([event async for event in host.generate(wanted)])
        (helper,) = children()
        await host.unload()
        assert not children(), helper


def children() -> list[psutil.Process]:
    """Those of this process that help a runner."""
    return [each for each in psutil.Process().children() if "runners.parallel.helper" in each.cmdline()]
