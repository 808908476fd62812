"""From a catalogue entry to pipelines that are ready to draw."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from models.entries import Entry
from models.families import Family
from models.inpainting import inpaint_unet
from models.previews import LatentPreview
from models.request import Task


@dataclass(frozen=True)
class LoadedModel:
    """Pipelines of one model, a task each, over one set of weights."""

    id: str
    family: Family
    pipelines: Mapping[Task, DiffusionPipeline]
    device: torch.device
    preview: LatentPreview | None = None

    @property
    def components(self) -> Mapping[str, Any]:
        components: Mapping[str, Any] = next(iter(self.pipelines.values())).components
        return components

    @property
    def dtype(self) -> str:
        return str(next(iter(self.pipelines.values())).dtype).removeprefix("torch.")


def load(entry: Entry, device: str = "auto", dtype: str | None = None) -> LoadedModel:
    """Load a catalogue entry onto a device.

    `dtype` overrides the entry's; a CPU always computes in float32. Raises OSError when the checkpoint is
    missing or unreadable.
    """
    device = resolve_device(device)
    precision = torch.float32 if device == "cpu" else getattr(torch, dtype or entry.dtype)
    source = entry.source.path or entry.source.repo
    assert source is not None, "the catalogue has checked that one of them is given"
    with _one_thread():
        pipelines = load_pipelines(
            entry.family_spec,
            source,
            device=device,
            dtype=precision,
            revision=entry.source.revision,
            variant=entry.variant,
        )
    preview = LatentPreview(entry.preview.weight, entry.preview.bias) if entry.preview else None
    return LoadedModel(entry.id, entry.family_spec, pipelines, torch.device(device), preview)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep the loading thread from making an OpenMP team of its own.

    Teams stay for a thread's lifetime, and when all teams together have more threads than there are cores, libgomp's
    threads stop spinning and sleep between operations: small models then take twice as long in the thread that draws.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load_pipelines(
    family: Family,
    source: str | Path,
    *,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    **options: Any,
) -> dict[Task, DiffusionPipeline]:
    """Load a checkpoint once and build the family's pipeline of every task over it.

    `source` is a folder in diffusers layout or a hub repository; only safetensors are read. `options` go to
    `from_pretrained` (`revision`, `variant`). Raises OSError when the checkpoint is missing or unreadable.
    """
    task, name = next(iter(family.pipelines.items()))
    first = getattr(diffusers, name).from_pretrained(source, dtype=dtype, use_safetensors=True, **options)
    first.to(device)
    for module in _convolutional(family, first):
        # Convolutions run on this layout anyway; kept in it, nothing is copied to and fro around each of them.
        module.to(memory_format=torch.channels_last)
    vae = first.vae
    if hasattr(first, "upcast_vae") and vae.config.force_upcast and dtype is torch.float16:
        # Pipelines would cast it up and down around each use, under the feet of those that share it.
        vae.to(torch.float32)
    others = {t: _over(first, t, getattr(diffusers, n)) for t, n in family.pipelines.items() if t is not task}
    pipelines = {task: first, **others}
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def _convolutional(family: Family, pipeline: DiffusionPipeline) -> list[Any]:
    """The batched modules that are convolutional networks over pictures."""
    names = dict.fromkeys(part.component for part in family.parts)
    modules = [getattr(pipeline, name) for name in names]
    return [m for m in modules if m is not None and any(isinstance(c, torch.nn.Conv2d) for c in m.modules())]


def _over(first: DiffusionPipeline, task: Task, pipeline_class: type[DiffusionPipeline]) -> DiffusionPipeline:
    """Build the pipeline of another task over the weights of the first."""
    changed = {"unet": inpaint_unet(first.unet)} if task is Task.INPAINT and hasattr(first, "unet") else {}
    return pipeline_class.from_pipe(first, dtype=None, **changed)


def resolve_device(wanted: str) -> str:
    """Turn `auto` into the accelerator that is there, or `cpu`."""
    if wanted != "auto":
        return wanted
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return accelerator.type if accelerator else "cpu"
