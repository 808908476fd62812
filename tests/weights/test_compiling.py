"""Compiled denoisers, on tiny models: how often they are compiled, and that images stay the same."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch._inductor import config as inductor

from core.errors import LoadFailed
from core.generation.request import GenerationRequest, Task
from models.catalogue.entry import Entry
from models.catalogue.families import FAMILIES
from models.catalogue.memory.options import Memory
from models.weights.compiling.denoisers import _as_new_step, compile_denoisers, keep_compiled_code, uncompiled
from models.weights.loading import LoadedModel, compiled_for, load_pipelines
from runners.engine.engine import EngineLimits
from runners.host.warmup import warm_up, warmup_requests
from tests.support.engine.compiler import Compiler
from tests.support.engine.drawing import draw_plain, draw_together, frames_of, largest_difference, request, results
from tests.support.engine.engines import running
from tests.support.servers.serving import DEFAULTS, ENTRY_FIELDS, LIMITS
from tests.tiny import TINY
from tests.tiny.videos.wan import tiny_wan, tiny_wan_a14b

TOKENS = 100_000
TOLERANCE = 1
"""Of 255, as for batches that are not compiled: padding and batching change the order of sums only."""


class Double(torch.nn.Module):
    def forward(self, given: torch.Tensor) -> torch.Tensor:
        return 2 * given


def plain(family: str, folder: Path, save: Callable[[Path], Path] | None = None) -> LoadedModel:
    pipelines = load_pipelines(FAMILIES[family], (save or TINY[family].save)(folder))
    return LoadedModel("tiny", FAMILIES[family], pipelines, torch.device("cpu"))


def compiled(
    family: str, folder: Path, memory: Memory, save: Callable[[Path], Path] | None = None
) -> tuple[LoadedModel, Compiler]:
    model, compiler = plain(family, folder, save), Compiler()
    (pipeline, *_) = model.pipelines.values()
    compile_denoisers(pipeline, model.family, memory, "cpu", compiler)
    return LoadedModel("tiny", model.family, model.pipelines, model.device, **compiled_for(memory)), compiler


def asked(family: str, words: int, **changes: Any) -> GenerationRequest:
    prompt = " ".join(["a"] * words)
    fields: dict[str, Any] = {
        "prompt": prompt,
        "seed": words,
        "num_inference_steps": 2,
        "scheduler": TINY[family].scheduler,
    }
    return request(**(fields | changes))


async def assert_as_plain(model: LoadedModel, reference: LoadedModel, wanted: list[GenerationRequest]) -> None:
    """Generate requests together, and compare each with the plain pipeline of a model that is not compiled."""
    with running(model, batch_tokens=TOKENS) as (engine, _):
        drawn = await draw_together(engine, wanted)
    for each, events in zip(wanted, drawn, strict=True):
        (result,) = results(events)
        assert largest_difference(frames_of(result)[0], draw_plain(reference, each)) <= TOLERANCE


@pytest.mark.parametrize("family", ["qwen-image", "z-image"])
async def test_prompts_of_all_lengths_share_few_graphs(family: str, tmp_path: Path) -> None:
    model, compiler = compiled(family, tmp_path, Memory(compile=True, batch_buckets=(1, 2), text_buckets=(128, 288)))
    reference = plain(family, tmp_path)
    counts = []
    for words in (3, 90, 17):
        await assert_as_plain(model, reference, [asked(family, words, guidance_scale=1.0)])
        counts.append(compiler.graphs)
    assert counts[0] > 0
    assert counts[1:] == [counts[1]] * 2, "one set of graphs for each of the two buckets"
    pair = [asked(family, words, guidance_scale=1.0) for words in (5, 80)]
    await assert_as_plain(model, reference, pair)


def test_an_engine_s_thread_compiles_more_shapes_than_torch_allows_by_itself() -> None:
    """Settings of torch's compiler hold for the thread that makes them."""
    compiler, double = Compiler(), Double()
    pipeline: Any = SimpleNamespace(transformer=double)
    compile_denoisers(pipeline, FAMILIES["flux"], Memory(compile="whole"), "cpu", compiler)
    thread = threading.Thread(target=lambda: [double(torch.zeros(samples, 2)) for samples in range(1, 21)])
    thread.start()
    thread.join()
    assert compiler.graphs == 20


async def test_all_denoisers_of_a_pipeline_are_compiled(tmp_path: Path) -> None:
    model, compiler = compiled("wan", tmp_path, Memory(compile=True, batch_buckets=(1,)), tiny_wan_a14b)
    for name in ("transformer", "transformer_2"):
        assert all(block._compiled_call_impl is not None for block in model.components[name].blocks)
    wanted = clip("unipc", num_inference_steps=4)
    await assert_as_plain(model, plain("wan", tmp_path, tiny_wan_a14b), [wanted])
    assert compiler.graphs == 1, "the blocks of both are of one kind"


@pytest.mark.parametrize(
    ("family", "option"), [("stable-diffusion", True), ("stable-diffusion", "blocks"), ("flux", "whole")]
)
async def test_a_denoiser_is_compiled_in_blocks_or_as_a_whole(family: str, option: Any, tmp_path: Path) -> None:
    model, compiler = compiled(family, tmp_path, Memory(compile=option, batch_buckets=(2,)))
    await assert_as_plain(model, plain(family, tmp_path), [asked(family, 1)])
    assert compiler.graphs


ENTRY: dict[str, Any] = {
    **ENTRY_FIELDS,
    "id": "tiny",
    "source": {"path": "tiny"},
    "family": "z-image",
    "defaults": {**DEFAULTS, "scheduler": "flow_euler"},
    "limits": {**LIMITS, "max_pixels": 128 * 128},
    "batch_tokens": TOKENS,
    "memory": {
        "compile": True,
        "batch_buckets": [2],
        "text_buckets": [64, 128],
        "warm": [{"width": 64, "height": 64}, {"width": 128, "height": 128}],
    },
}


async def test_nothing_is_compiled_after_the_warm_up(tmp_path: Path) -> None:
    entry = Entry.model_validate(ENTRY)
    model, compiler = compiled(entry.family, tmp_path, entry.memory)
    await warm_up(model, warmup_requests(entry, model), EngineLimits(TOKENS))
    graphs = compiler.graphs
    assert graphs == 2 + 2 + 2 * 2, "those of sizes, of prompts and of both"
    reference = plain(entry.family, tmp_path)
    listed = [asked(entry.family, words, width=px, height=px) for words in (3, 30) for px in (64, 128)]
    await assert_as_plain(model, reference, listed)
    others = [asked(entry.family, 3, width=128), asked(entry.family, 90)]
    await assert_as_plain(model, reference, others)
    assert compiler.graphs == graphs


@pytest.mark.parametrize(("text_buckets", "prompts"), [([64, 128], 2), ([512, 1024], 1)])
def test_a_warm_up_has_all_sizes_batches_and_lengths_that_prompts_have(
    text_buckets: list[int], prompts: int, tmp_path: Path
) -> None:
    memory = {**ENTRY["memory"], "batch_buckets": [1, 2], "text_buckets": text_buckets}
    entry = Entry.model_validate({**ENTRY, "memory": memory})
    model = replace(plain(entry.family, tmp_path), **compiled_for(entry.memory))
    requests = warmup_requests(entry, model)
    assert [(each.width, each.num_images) for each in requests] == [
        *[(64, 1), (64, 2)] * prompts,
        *[(128, 1), (128, 2)] * prompts,
    ]
    assert len({each.prompt for each in requests}) == prompts


def test_cuda_graphs_need_a_card(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"memory\.compile: cuda-graphs cannot be recorded on cpu"):
        load_pipelines(FAMILIES["flux"], TINY["flux"].save(tmp_path), memory=Memory(compile="cuda-graphs"))


def test_what_a_recorded_graph_returned_outlives_its_next_replay() -> None:
    memory = torch.zeros(2)

    def replay(value: float) -> tuple[torch.Tensor]:
        return (memory.fill_(value),)

    step = _as_new_step(replay)
    first, second = step(1.0), step(2.0)
    assert (first[0].tolist(), second[0].tolist()) == ([1.0, 1.0], [2.0, 2.0])


def test_a_thread_that_runs_uncompiled_leaves_others_alone() -> None:
    """`torch.compiler.set_stance` would not."""
    compiler, double = Compiler(), Double()
    pipeline: Any = SimpleNamespace(transformer=double)
    compile_denoisers(pipeline, FAMILIES["flux"], Memory(compile="whole"), "cpu", compiler)
    with uncompiled():
        double(torch.zeros(1, 2))
        assert compiler.graphs == 0
        thread = threading.Thread(target=double, args=(torch.zeros(1, 2),))
        thread.start()
        thread.join()
        assert compiler.graphs == 1


def test_the_operator_may_say_where_torch_keeps_compiled_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "/elsewhere")
    keep_compiled_code(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "/elsewhere"
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    keep_compiled_code(tmp_path)
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path)


async def test_compiled_code_is_kept_for_the_next_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one test of torch's own compiler, which is slow: a single kind of block, for a single shape.

    Its graphs call PyTorch's kernels: compiling some of its own takes 40 s. The engine's thread sees only defaults.
    """
    monkeypatch.setattr(vars(inductor)["_config"]["fallback_by_default"], "default", True)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    keep_compiled_code(tmp_path / "code")
    memory, checkpoint = Memory(compile=True, batch_buckets=(3,)), tiny_wan(tmp_path / "wan")
    found = []
    for _ in range(2):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        pipelines = load_pipelines(FAMILIES["wan"], checkpoint, memory=memory)
        model = LoadedModel("tiny", FAMILIES["wan"], pipelines, torch.device("cpu"), **compiled_for(memory))
        crowd = [clip("unipc", seed=seed) for seed in range(3)]
        await assert_as_plain(model, plain("wan", tmp_path / "wan", lambda _: checkpoint), crowd)
        counters = torch._dynamo.utils.counters["inductor"]
        found.append((counters["fxgraph_cache_miss"], counters["fxgraph_cache_hit"]))
    assert found == [(1, 0), (0, 1)]


def clip(scheduler: str, **changes: Any) -> GenerationRequest:
    fields: dict[str, Any] = {
        "num_frames": 5,
        "fps": 16,
        "num_inference_steps": 2,
        "scheduler": scheduler,
        "guidance_scale": 1.0,
    }
    return request(Task.TEXT_TO_VIDEO, **(fields | changes))
