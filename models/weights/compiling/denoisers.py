"""Compiles a pipeline's denoisers, and lets single passes run them uncompiled."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel, ZImageTransformer2DModel
from torch.utils import _pytree as pytree

from core.errors import LoadFailed
from models.catalogue.families import CallStage, Family
from models.catalogue.memory.options import Memory
from models.weights.compiling.z_image import BucketedZImage

COMPILED_GRAPHS = 256
"""The most compilations of one function: batch and prompt buckets times sizes. With torch's own limit, 8, further ones
would run uncompiled.
"""


class _ThreadState(threading.local):
    uncompiled = False
    limits_set = False


_thread = _ThreadState()


def denoisers(pipeline: DiffusionPipeline, family: Family) -> list[Any]:
    """Return all modules that denoise: Wan 2.2 A14B has two."""
    parts = [part.component for part in family.parts if part.stage is CallStage.DENOISE]
    names = dict.fromkeys([family.denoiser, *parts])
    modules = [getattr(pipeline, name, None) for name in names]
    return [module for module in modules if module is not None]


def compile_denoisers(
    pipeline: DiffusionPipeline,
    family: Family,
    memory: Memory,
    device: str,
    backend: str | Callable[..., Any] = "inductor",
) -> None:
    """Have each denoiser compiled at its first pass of each shape, by a backend of `torch.compile`.

    Raises LoadFailed for CUDA graphs on anything but an NVIDIA or AMD card, and for a denoiser without declared blocks.
    """
    graphs = memory.compile == "cuda-graphs"
    if graphs and torch.device(device).type != "cuda":
        raise LoadFailed(f"memory.compile: cuda-graphs cannot be recorded on {device}; use blocks or whole")
    for denoiser in denoisers(pipeline, family):
        if isinstance(denoiser, ZImageTransformer2DModel):
            BucketedZImage.pad(denoiser, memory.text_buckets)
        if graphs:
            denoiser.compile(mode="reduce-overhead", dynamic=False)
            denoiser._compiled_call_impl = _as_new_step(denoiser._compiled_call_impl)
        elif _in_blocks(denoiser, memory):
            # Repeated blocks share one graph, so this takes a fraction of the time for the whole:
            # https://docs.pytorch.org/tutorials/recipes/regional_compilation.html
            denoiser.compile_repeated_blocks(backend=backend, dynamic=False)
        else:
            denoiser.compile(backend=backend, dynamic=False)
        for module in denoiser.modules():
            if module._compiled_call_impl is not None:
                module._compiled_call_impl = _switched(module._compiled_call_impl, module._call_impl)


def _in_blocks(denoiser: Any, memory: Memory) -> bool:
    """Whether to compile blocks: a UNet's repeated blocks are its attention, but most of its work is convolutions."""
    if memory.compile == "whole":
        return False
    repeated = bool(denoiser._repeated_blocks)
    if memory.compile == "blocks" and not repeated:
        raise LoadFailed(f"memory.compile: {type(denoiser).__name__} does not say which blocks repeat in it; use whole")
    return repeated and not (memory.compile is True and isinstance(denoiser, UNet2DConditionModel))


def _switched(compiled: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        if _thread.uncompiled:
            return plain(*args, **kwargs)
        _set_limits()
        return compiled(*args, **kwargs)

    return call


def _set_limits() -> None:
    """Raise torch's limits on compilations, in the calling thread only, since its settings are per thread."""
    if not _thread.limits_set:
        torch._dynamo.config.recompile_limit = COMPILED_GRAPHS
        torch._dynamo.config.accumulated_recompile_limit = 4 * COMPILED_GRAPHS
        _thread.limits_set = True


def _as_new_step(recorded: Callable[..., Any]) -> Callable[..., Any]:
    """Clone the output of a recorded graph, which its next replay would overwrite while pipelines still use it."""

    def call(*args: Any, **kwargs: Any) -> Any:
        torch.compiler.cudagraph_mark_step_begin()
        return pytree.tree_map_only(torch.Tensor, torch.clone, recorded(*args, **kwargs))

    return call


@contextmanager
def uncompiled() -> Iterator[None]:
    """Run compiled modules uncompiled, in this thread.

    `torch.compiler.set_stance` does the same for all threads of the process, so two models' engines would undo each
    other's settings.
    """
    before, _thread.uncompiled = _thread.uncompiled, True
    try:
        yield
    finally:
        _thread.uncompiled = before


@contextmanager
def not_yet_compiled(components: Iterable[Any]) -> Iterator[None]:
    """Run modules uncompiled in all threads, for a model that is not in use yet."""
    modules = [module for each in components if isinstance(each, torch.nn.Module) for module in each.modules()]
    compiled = {module: module._compiled_call_impl for module in modules if module._compiled_call_impl is not None}
    for module in compiled:
        module._compiled_call_impl = None
    try:
        yield
    finally:
        for module, call in compiled.items():
            module._compiled_call_impl = call


def keep_compiled_code(folder: Path) -> None:
    """Cache compiled code in a folder from now on, unless the operator has configured torch's cache."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(folder))
