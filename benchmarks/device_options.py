"""How device options affect the time of a denoiser pass, and how often prompts are compiled:
`python -m benchmarks.device_options`.

The miniature's UNet with a batch of eight, medians of alternating repeats; and tiny Qwen-Image and Z-Image.
"""

from __future__ import annotations

import asyncio
import copy
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch

from models.catalogue.catalogue import full_catalogue
from models.catalogue.memory.options import Memory
from models.weights.compiling.denoisers import compile_denoisers
from models.weights.loading import LoadedModel, compiled_for, load
from tests.support.engine.drawing import draw_together, request
from tests.support.engine.engines import running
from tests.support.engine.parity import load_tiny
from tests.tiny import TINY

NUMBER = 8
REPEATS = 30
PROMPTS = 12
ON_CARDS: Mapping[str, Any] = {
    "TF32 in products": lambda on: setattr(torch.backends.cuda.matmul, "allow_tf32", on),
    "cuDNN's benchmark": lambda on: setattr(torch.backends.cudnn, "benchmark", on),
}


def passes() -> None:
    """Print how long a pass takes under each option, beside one without it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    unet = load(full_catalogue(None).get("miniature"), "cpu").components["unet"].to(device)
    arguments = {
        "sample": torch.randn(NUMBER, unet.config.in_channels, 16, 16, device=device),
        "timestep": torch.full((NUMBER,), 500.0, device=device),
        "encoder_hidden_states": torch.randn(NUMBER, 77, unet.config.cross_attention_dim, device=device),
    }
    contiguous = copy.deepcopy(unet).to(memory_format=torch.contiguous_format)
    fused = copy.deepcopy(unet)
    fused.fuse_qkv_projections()
    _compare("channels last", lambda: contiguous(**arguments), lambda: unet(**arguments))
    _compare("fused QKV", lambda: unet(**arguments), lambda: fused(**arguments))
    for name, switch in ON_CARDS.items() if device == "cuda" else ():
        _compare(name, lambda: unet(**arguments), lambda: unet(**arguments), switch)


def _compare(
    name: str, without: Callable[[], object], under: Callable[[], object], switch: Callable[[bool], None] | None = None
) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    for repeat in range(2 * REPEATS):
        on = repeat % 2 == 1
        if switch is not None:
            switch(on)
        times[on].append(_seconds(under if on else without))
    if switch is not None:
        switch(False)
    # The first passes choose kernels.
    plain, changed = (1000 * median(times[on][2:]) for on in (False, True))
    print(f"{name:20} {changed:6.1f} ms a pass, {plain:6.1f} without: {changed / plain:.2f}", flush=True)


def _seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def compiling(family: str) -> None:
    """Print how many graphs prompts of different lengths need, compiled without buckets and as the server does it."""
    with tempfile.TemporaryDirectory() as folder:
        model = load_tiny(family, Path(folder))
        graphs: list[object] = []

        def count(graph: Any, _inputs: object) -> Any:
            graphs.append(graph)
            return graph.forward

        model.components["transformer"].compile_repeated_blocks(backend=count, dynamic=False)
        _generate(model)
        alone, memory = len(graphs), Memory(compile=True, batch_buckets=(1,))
        model = replace(load_tiny(family, Path(folder)), **compiled_for(memory))
        compile_denoisers(next(iter(model.pipelines.values())), model.family, memory, "cpu", count)
        _generate(model)
    without = f"{alone} without text_buckets, where torch gives up"
    print(f"{family:20} {len(graphs) - alone} graphs for {PROMPTS} lengths of prompts; {without}")


def _generate(model: LoadedModel) -> None:
    fields: dict[str, Any] = {
        "num_inference_steps": 1,
        "guidance_scale": 1.0,
        "scheduler": TINY[model.family.name].scheduler,
    }
    torch._dynamo.reset()
    with running(model, batch_tokens=2**20) as (engine, _):
        for words in range(1, 8 * PROMPTS, 8):
            asyncio.run(draw_together(engine, [request(prompt="a " * words, **fields)]))


if __name__ == "__main__":
    with torch.no_grad():
        passes()
    for name in ("qwen-image", "z-image"):
        compiling(name)
