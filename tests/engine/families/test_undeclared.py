"""Pipelines that no family declares: described by their signatures, and shared as far as a test allows."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from core.errors import LoadFailed
from core.generation.events import Failed, Picture, Started
from models.catalogue.entry import Entry
from models.catalogue.memory.options import Memory
from models.catalogue.sharing import read_sharing, sharing_file
from models.catalogue.sources import Source
from models.weights.compiling.denoisers import compile_denoisers
from models.weights.describing.undeclared.pipelines import undeclared_fields
from models.weights.loading import LoadedModel, compiled_for, load
from runners.certifying import certify, modules
from runners.certifying.certify import certified
from runners.certifying.probes import at_once, one_by_one, probes, with_parts
from runners.certifying.recording import RecordedCall
from runners.engine.engine import Engine, EngineLimits
from runners.engine.observer import EngineObserver, RequestReport
from runners.engine.pipeline_run import pipeline_arguments
from runners.host.warmup import warm_up
from tests.support.engine.compiler import Compiler
from tests.support.engine.hosts import drawn, hosting
from tests.tiny.undeclared import BUILDERS, tiny_undeclared

CAN_DO = {
    "StableDiffusionInstructPix2PixPipeline": ["edit"],
    "LatentConsistencyModelPipeline": ["text-to-image", "image-to-image"],
    "LattePipeline": ["text-to-video"],
    "CogVideoXPipeline": ["text-to-video"],
}
"""Others make images of text."""
GUIDED = 2
"""Samples of one guided request."""
ROUNDING = 1
"""Of 255."""


def _index(folder: Path) -> dict[str, Any]:
    index: dict[str, Any] = json.loads((folder / "model_index.json").read_text())
    return index


def _entry(folder: Path) -> Entry:
    usual = {"title": "Tiny", "dtype": "float32", "licence": "none", "memory_gib": 0.1, "batch_tokens": 4096}
    fields = undeclared_fields(folder, _index(folder)["_class_name"])
    fields["limits"] |= {"min_px": min(fields["limits"]["min_px"], 64)}
    return Entry.model_validate({"id": "tiny", "source": {"path": folder}, **usual, **fields})


@pytest.fixture(scope="module", params=sorted(BUILDERS))
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Entry, LoadedModel]:
    """Each pipeline, loaded and tested."""
    entry = _entry(tiny_undeclared(request.param, tmp_path_factory.mktemp("undeclared")))
    return entry, asyncio.run(certified(entry, load(entry, "cpu"), None))


class TestEachPipeline:
    def test_its_signature_says_what_it_can_do(self, found: tuple[Entry, LoadedModel]) -> None:
        entry, model = found
        name = type(next(iter(model.pipelines.values()))).__name__
        assert [str(task) for task in entry.tasks] == CAN_DO.get(name, ["text-to-image"])

    def test_its_modules_share_passes(self, found: tuple[Entry, LoadedModel]) -> None:
        _, model = found
        assert model.sharing is not None
        assert set(model.sharing.values()) == {"shared"}
        assert {"vae.decode"} < set(model.sharing)
        assert {part.component for part in model.family.parts} & {"unet", "transformer"}

    def test_images_of_a_crowd_are_those_of_the_plain_pipeline(self, found: tuple[Entry, LoadedModel]) -> None:
        entry, model = found
        requests = probes(entry)[:3]
        crowd = asyncio.run(at_once(model, model.family.parts, requests))
        for request, images in zip(requests, crowd, strict=True):
            plain = model.pipelines[request.task](**pipeline_arguments(model.family, request, 0))
            frames = plain.frames[0] if request.task.is_video else plain.images
            expected = np.stack([np.asarray(frame) for frame in frames]).astype(int)
            assert np.abs(images - expected).max() <= ROUNDING
            assert expected.shape[1:3] == (request.height, request.width)


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    return _entry(tiny_undeclared("AuraFlowPipeline", tmp_path_factory.mktemp("aura")))


@pytest.fixture
def model(entry: Entry) -> LoadedModel:
    return load(entry, "cpu")


class Ended(EngineObserver):
    def __init__(self) -> None:
        self.reports: list[RequestReport] = []

    def on_end(self, report: RequestReport) -> None:
        self.reports.append(report)


def _changed(model: LoadedModel, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Have the denoiser's output go through a function."""
    denoiser = model.components["transformer"]
    run = denoiser.forward

    @wraps(run)
    def forward(*args: Any, **kwargs: Any) -> Any:
        return (change(run(*args, **kwargs)[0]),)

    denoiser.forward = forward


class TestWhatMayNotBeShared:
    def test_a_module_that_mixes_samples_is_called_for_each_request(self, entry: Entry, model: LoadedModel) -> None:
        _changed(model, lambda noise: noise + noise.mean(dim=0))
        alone = asyncio.run(one_by_one(model, probes(entry)))
        tested = asyncio.run(certified(entry, model, None))
        assert tested.sharing is not None
        assert tested.sharing["transformer"].startswith("call by call: merged, a result is off by")
        assert tested.sharing["text_encoder"] == tested.sharing["vae.decode"] == "shared"
        crowd = asyncio.run(at_once(tested, tested.family.parts, probes(entry)))
        assert all(np.array_equal(one, other) for one, other in zip(crowd, alone, strict=True))

    @pytest.mark.parametrize("fixed", ["by the request", "by the compiled sizes"])
    def test_its_calls_are_not_filled_up_to_a_fixed_size(self, entry: Entry, model: LoadedModel, fixed: str) -> None:
        _changed(model, lambda noise: noise + noise.mean(dim=0))
        alone = asyncio.run(one_by_one(model, probes(entry)))
        tested = asyncio.run(certified(entry, model, None))
        asked = [each.model_copy(update={"reproducible": fixed == "by the request"}) for each in probes(entry)]
        compiled = tested if fixed == "by the request" else replace(tested, batch_buckets=(3, 6))
        crowd = asyncio.run(at_once(compiled, tested.family.parts, asked))
        assert all(np.abs(one.astype(int) - other).max() <= ROUNDING for one, other in zip(crowd, alone, strict=True))

    def test_a_module_that_remembers_has_one_request_at_a_time(self, entry: Entry, model: LoadedModel) -> None:
        last = [torch.zeros(1)]

        def with_the_last(noise: torch.Tensor) -> torch.Tensor:
            last.append(noise)
            return noise + 10 * last[-2].mean()

        _changed(model, with_the_last)
        tested = asyncio.run(certified(entry, model, None))
        assert tested.family.parts == ()
        assert tested.sharing is not None
        assert tested.sharing["all"].startswith("one image after the other: in turns, an image is off by")

    def test_a_merged_call_that_fails_is_a_reason(self, entry: Entry, model: LoadedModel) -> None:
        def of_one(noise: torch.Tensor) -> torch.Tensor:
            if len(noise) > GUIDED:
                raise ValueError("only one request")
            return noise

        _changed(model, of_one)
        tested = asyncio.run(certified(entry, model, None))
        assert tested.sharing is not None
        assert tested.sharing["transformer"] == "call by call: merged calls fail with ValueError"


class WithTable(torch.nn.Module):
    """Takes a table for all samples in the shape of one of them."""

    dtype, device = torch.float32, torch.device("cpu")

    def forward(self, x: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return x * table.reshape(x.shape[1:])


def test_what_never_changes_is_shared_where_it_cannot_be_merged() -> None:
    module, table = WithTable(), torch.rand(1, 4, 8)
    inputs = [torch.rand(1, 4, 8) for _ in range(4)]
    calls = [
        RecordedCall("unet", "forward", number // 2, (x, table), {}, module(x, table))
        for number, x in enumerate(inputs)
    ]
    (part,) = modules.untested(calls)
    assert modules.tested(module, part, calls).shared == {"table"}
    assert modules.tested(module, part, calls).together


class TestOneImageAfterTheOther:
    """Without a batched call, nothing of the engine runs before an image is done."""

    @pytest.mark.parametrize("images", [1, 3])
    async def test_what_is_cancelled_stops_at_the_next_step(
        self, entry: Entry, model: LoadedModel, images: int
    ) -> None:
        begun, cancelled = threading.Event(), threading.Event()
        steps = []

        def await_cancellation(noise: torch.Tensor) -> torch.Tensor:
            steps.append(noise)
            begun.set()
            assert cancelled.wait(60)
            return noise

        _changed(model, await_cancellation)
        ended = Ended()
        engine = Engine(with_parts(model, ()), EngineLimits(batch_tokens=4096), ended)
        try:
            asked = probes(entry)[0].model_copy(update={"num_images": images, "num_inference_steps": 10})
            ticket = engine.submit(asked)
            async for event in ticket.events():
                if isinstance(event, Started):
                    assert await asyncio.to_thread(begun.wait, 60)
                    ticket.cancel()
                    cancelled.set()
            assert [(report.outcome, report.images) for report in ended.reports] == [("cancelled", 0)]
            assert len(steps) == 1
        finally:
            engine.close()

    async def test_images_that_are_left_are_not_begun_after_the_deadline(
        self, entry: Entry, model: LoadedModel
    ) -> None:
        now_s = [0.0]
        ended = Ended()
        engine = Engine(with_parts(model, ()), EngineLimits(batch_tokens=4096), ended, clock=lambda: now_s[0])

        def slow(noise: torch.Tensor) -> torch.Tensor:
            now_s[0] += 1.0
            return noise

        _changed(model, slow)
        try:
            changes = {"num_images": 3, "num_inference_steps": 2, "deadline_s": 2.5}
            events = [event async for event in engine.submit(probes(entry)[0].model_copy(update=changes)).events()]
            assert isinstance(events[-1], Failed)
            assert [(report.outcome, report.images) for report in ended.reports] == [("deadline_exceeded", 1)]
        finally:
            engine.close()


async def test_nothing_is_compiled_for_the_test(entry: Entry) -> None:
    compiler, memory = Compiler(), Memory(compile=True)
    model = replace(load(entry, "cpu"), **compiled_for(memory))
    compile_denoisers(next(iter(model.pipelines.values())), model.family, memory, "cpu", compiler)
    tested = await certified(entry, model, None)
    assert tested.sharing is not None
    assert tested.sharing["transformer"] == "shared"
    assert compiler.graphs == 0
    await warm_up(tested, [probes(entry)[0]], EngineLimits(batch_tokens=4096))
    assert compiler.graphs, "its own passes are"


def test_blocks_that_a_denoiser_does_not_name_cannot_be_compiled(entry: Entry, model: LoadedModel) -> None:
    pipeline = next(iter(model.pipelines.values()))
    with pytest.raises(LoadFailed, match="does not say which blocks repeat in it; use whole"):
        compile_denoisers(pipeline, model.family, Memory(compile="blocks"), "cpu")


class TestTheVerdict:
    def test_it_is_kept_and_made_again_when_versions_change(
        self, entry: Entry, model: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        file = tmp_path / "sharing" / "tiny.json"
        tested = asyncio.run(certified(entry, model, file))
        kept = read_sharing(file)
        assert kept is not None
        assert kept.parts == tested.family.parts

        def untried(_entry: Entry) -> Any:
            raise AssertionError("it was tested before")

        monkeypatch.setattr(certify, "probes", untried)
        assert asyncio.run(certified(entry, model, file)).sharing == tested.sharing
        monkeypatch.setattr(certify, "version", lambda package: f"{package} of tomorrow")
        with pytest.raises(AssertionError, match="tested before"):
            asyncio.run(certified(entry, model, file))

    @pytest.mark.parametrize("changed", ["its files", "its memory options"])
    def test_it_is_made_again_when_the_model_changes(
        self, entry: Entry, changed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = shutil.copytree(str(entry.source.path), tmp_path / "model")
        own = entry.model_copy(update={"source": Source(path=folder)})
        model, file = load(own, "cpu"), tmp_path / "sharing.json"
        asyncio.run(certified(own, model, file))
        if changed == "its files":
            weights = next(folder.glob("transformer/*.safetensors"))
            os.utime(weights, ns=(0, 0))
        else:
            own = own.model_copy(update={"memory": Memory(vae_slicing=True)})

        def tried(_entry: Entry) -> Any:
            raise AssertionError("it is tested again")

        monkeypatch.setattr(certify, "probes", tried)
        with pytest.raises(AssertionError, match="tested again"):
            asyncio.run(certified(own, model, file))

    def test_a_folder_that_cannot_be_written_is_no_failure(
        self, entry: Entry, model: LoadedModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "sharing").write_text("a file in the folder's place")
        tested = asyncio.run(certified(entry, model, tmp_path / "sharing" / "tiny.json"))
        assert tested.family.parts
        assert "it cannot be kept in" in caplog.text

    def test_models_of_one_name_do_not_share_it(self, entry: Entry, tmp_path: Path) -> None:
        other = entry.model_copy(update={"source": Source(repo="owner/tiny")})
        assert sharing_file(tmp_path, entry) != sharing_file(tmp_path, other)

    def test_a_pipeline_that_needs_more_steps_gets_them(
        self, entry: Entry, model: LoadedModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        pipeline = type(next(iter(model.pipelines.values())))
        call = pipeline.__call__

        @wraps(call)
        def of_four_steps(self: Any, *args: Any, **kwargs: Any) -> Any:
            if kwargs["num_inference_steps"] < 4:
                raise ValueError("too few steps")
            return call(self, *args, **kwargs)

        monkeypatch.setattr(pipeline, "__call__", of_four_steps)
        defaults = entry.defaults.model_copy(update={"num_inference_steps": 5})
        tested = asyncio.run(certified(entry.model_copy(update={"defaults": defaults}), model, None))
        assert tested.sharing is not None
        assert set(tested.sharing.values()) == {"shared"}

    def test_a_pipeline_that_cannot_generate_is_no_verdict(self, entry: Entry, model: LoadedModel) -> None:
        _changed(model, lambda noise: noise.reshape(0))
        with pytest.raises(LoadFailed, match="its first image failed: the pipeline failed"):
            asyncio.run(certified(entry, model, None))


async def test_a_host_tests_once_and_says_what_it_found(entry: Entry, tmp_path: Path) -> None:
    async with hosting(entry, sharing_folder=tmp_path) as host:
        events = await drawn(host, model="tiny", guidance_scale=3.0, scheduler="checkpoint")
        assert isinstance(events[-1], Picture)
        assert host.state().sharing == {"text_encoder": "shared", "transformer": "shared", "vae.decode": "shared"}
    assert read_sharing(sharing_file(tmp_path, entry)) is not None


class TestRefusals:
    @pytest.mark.parametrize(
        ("index", "said"),
        [
            ({"_class_name": "DDPMPipeline"}, "DDPMPipeline takes no prompt"),
            ({"_class_name": "NoPipeline", "_diffusers_version": "9.9"}, "has no NoPipeline; it was made with 9.9"),
            ({"_class_name": ["pipeline.py", "Own"]}, "code of its own"),
            ({"_class_name": "FluxControlPipeline"}, "needs a control image"),
            ({"_class_name": "StableDiffusionAdapterPipeline"}, "needs a control image"),
            ({"_class_name": "CogVideoXVideoToVideoPipeline"}, "changes videos"),
            ({"_class_name": "StableAudioPipeline"}, "makes audios, which are neither images nor videos"),
            ({"_class_name": "KandinskyPriorPipeline"}, "makes image_embeds, negative_image_embeds"),
            ({"_class_name": "LucyEditPipeline"}, "needs video, which requests do not say"),
        ],
    )
    def test_what_requests_cannot_ask_for_is_named(self, index: dict[str, Any], said: str, tmp_path: Path) -> None:
        (tmp_path / "model_index.json").write_text(json.dumps(index))
        with pytest.raises(LoadFailed, match=said):
            undeclared_fields(tmp_path, str(index["_class_name"]))
