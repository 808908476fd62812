"""Loads a catalogue entry as pipelines that are ready to generate."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from core.errors import OutOfMemory
from core.generation.request import Task
from models.catalogue.addons import ControlNetSpec, IpAdapterSpec, LoraSpec
from models.catalogue.entry import Entry
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory
from models.weights.addons.embeddings import add_embeddings
from models.weights.addons.loras import fuse
from models.weights.build_lock import build_lock
from models.weights.compiling.denoisers import keep_compiled_code
from models.weights.compiling.shapes import CompiledShapes
from models.weights.devices import current_device, resolve_device
from models.weights.fetching.explanations import explained
from models.weights.file_reading import fetch, read_pipeline
from models.weights.loading_progress import Report, reporting_components
from models.weights.memory.casting import store
from models.weights.memory.pipeline_options import tune
from models.weights.memory.placing import devices_of, keep_offloaded, place
from models.weights.pipelines.inpaint_denoiser import inpaint_denoiser
from models.weights.pipelines.previews import LatentPreview
from models.weights.pipelines.sibling_pipelines import sibling

NOTHING_TRADED = Memory()
NO_LORAS: Mapping[str, LoraSpec] = {}
NO_EMBEDDINGS: Mapping[str, Path] = {}
ALL_HERE: Mapping[str, str] = {}
READ = 0.9
"""Reading's share of the loading time; the rest is moving weights to the device."""


def _ignore(_progress: float) -> None:
    pass


class ChoosableLoras(Mapping[str, LoraSpec]):
    """The LoRAs that requests to a model may name, including those added after it was loaded."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry

    def __getitem__(self, name: str) -> LoraSpec:
        return self._entry.choosable_loras[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entry.choosable_loras)

    def __len__(self) -> int:
        return len(self._entry.choosable_loras)


@dataclass(frozen=True)
class LoadedModel:
    """Pipelines of one model, a task each, over one set of weights."""

    id: str
    family: Family
    pipelines: Mapping[Task, DiffusionPipeline]
    device: torch.device
    preview: LatentPreview | None = None
    controlnets: Mapping[str, ControlNetSpec] = field(default_factory=dict)
    ip_adapter: IpAdapterSpec | None = None
    """The ControlNets and IP-Adapter that `runners.engine.views.optional_weights` loads when a request needs them."""
    loras: Mapping[str, LoraSpec] = field(default_factory=dict)
    """The LoRAs that requests may name; `runners.engine.loras.sets` loads them."""
    batch_buckets: tuple[int, ...] = ()
    """Samples per pass that denoisers are compiled for; empty if they are not."""
    text_buckets: tuple[int, ...] = ()
    """Lengths of prompts, in tokens, that denoisers are compiled for; empty if they are not."""
    compiled: CompiledShapes | None = None
    """The passes that denoisers are compiled for; None when they are not."""
    sharing: Mapping[str, str] | None = None
    """What a test has shown of each module, for a model that no family declares."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """The devices of components that are on another one than `device`."""

    @property
    def components(self) -> Mapping[str, Any]:
        components: Mapping[str, Any] = next(iter(self.pipelines.values())).components
        return components

    @cached_property
    def weights_gib(self) -> float:
        return sum(self._gib_by_device.values())

    def weights_on(self, device: str) -> float:
        """Return the GiB of weights that are on a device, or are moved there when called if offloaded."""
        return self._gib_by_device.get(device, 0.0)

    @cached_property
    def _gib_by_device(self) -> Mapping[str, float]:
        gib: dict[str, float] = {}
        for name, component in self.components.items():
            if isinstance(component, torch.nn.Module):
                place = self.place_of(name)
                gib[place] = gib.get(place, 0.0) + sum(weight.nbytes for weight in component.parameters()) / 2**30
        return gib

    def place_of(self, component: str) -> str:
        """Return the device on which a component computes."""
        return self.elsewhere.get(component, str(self.device))

    @property
    def dtype(self) -> str:
        return str(next(iter(self.pipelines.values())).dtype).removeprefix("torch.")


def load(
    entry: Entry,
    device: str = "auto",
    dtype: str | None = None,
    *,
    allow_pickle: bool = False,
    compiled_code: Path | None = None,
    report: Report = _ignore,
) -> LoadedModel:
    """Load a catalogue entry onto a device, fetching it if it is not on this machine.

    `dtype` overrides the entry's; a CPU always computes in float32. `compiled_code` is the folder where compiled code
    is kept for the next start; None: torch's own. `report` gets the fraction that is done, in the calling thread.
    Blocks. Raises LoadFailed with what to do, OutOfMemory, or InvalidRequest for a missing device.
    """
    device = resolve_device(device)
    if entry.memory.compile and compiled_code is not None:
        keep_compiled_code(compiled_code)
    precision = torch.float32 if device == "cpu" else getattr(torch, dtype or entry.dtype)
    with one_thread(), current_device(device):
        pipelines = _load_entry(entry, device, precision, allow_pickle, report)
    preview = LatentPreview(entry.preview.weight, entry.preview.bias) if entry.preview else None
    return LoadedModel(
        entry.id,
        entry.family_spec,
        pipelines,
        torch.device(device),
        preview,
        controlnets=entry.controlnets,
        ip_adapter=entry.ip_adapter,
        loras=ChoosableLoras(entry),
        elsewhere=devices_of(entry.components, device),
        **compiled_for(entry.memory),
    )


def compiled_for(memory: Memory) -> dict[str, Any]:
    """Return the fields of a LoadedModel that say what its denoisers are compiled for."""
    if not memory.compile:
        return {}
    buckets = {"batch_buckets": memory.batch_buckets, "text_buckets": memory.text_buckets}
    return {**buckets, "compiled": CompiledShapes()}


def _load_entry(
    entry: Entry, device: str, dtype: torch.dtype, allow_pickle: bool, report: Report
) -> dict[Task, DiffusionPipeline]:
    family = entry.family_spec
    pipeline_class = _first_class(family, entry.tasks)
    files = fetch(entry, pipeline_class, allow_pickle=allow_pickle)
    with explained(entry.source), _enough_memory(entry, device):
        pipelines = load_pipelines(
            family,
            files.weights,
            tasks=entry.tasks,
            config=files.config,
            overrides=files.overrides,
            embeddings=files.embeddings,
            device=device,
            dtype=dtype,
            memory=entry.memory,
            elsewhere=devices_of(entry.components, device),
            loras=entry.loras,
            allow_pickle=allow_pickle,
            report=report,
            variant=entry.variant,
        )
    report(1.0)
    return pipelines


@contextmanager
def _enough_memory(entry: Entry, device: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(f"{entry.id} does not fit into the memory of {device}") from error


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep the loading thread from creating an OpenMP team of its own.

    Teams live as long as their thread, and if all teams together have more threads than there are cores, libgomp's
    threads sleep instead of spinning between operations, which makes small models half as fast.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def load_pipelines(  # noqa: PLR0913  # options by name, each with a default
    family: Family,
    source: str | Path,
    *,
    tasks: Container[Task] | None = None,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
    memory: Memory = NOTHING_TRADED,
    elsewhere: Mapping[str, str] = ALL_HERE,
    loras: Mapping[str, LoraSpec] = NO_LORAS,
    embeddings: Mapping[str, Path] = NO_EMBEDDINGS,
    report: Report = _ignore,
    **options: Any,
) -> dict[Task, DiffusionPipeline]:
    """Load a checkpoint once and build the family's pipeline for each task over it; None means every task.

    `source` and `options` are those of `models.weights.file_reading.read_pipeline`, whose errors this raises.
    """
    wanted = {task: name for task, name in family.pipelines.items() if tasks is None or task in tasks}
    task, name = next(iter(wanted.items()))
    with build_lock, reporting_components(Path(source), lambda read: report(READ * read)):
        first = read_pipeline(family, getattr(diffusers, name), Path(source), dtype=dtype, memory=memory, **options)
    if family.prepare is not None:
        resolve_name(family.prepare)(first)
    with build_lock:
        add_embeddings(first, embeddings)
    fuse(first, loras)
    store(first, memory)
    upcast_vae(first, dtype)
    place(first, family, memory, device, elsewhere)
    arrange(family, first, memory)
    tune(first, family, memory, device)
    others = {t: _over(family, first, t, getattr(diffusers, n)) for t, n in wanted.items() if t is not task}
    pipelines = {task: first, **others}
    keep_offloaded(pipelines)
    for pipeline in pipelines.values():
        pipeline.set_progress_bar_config(disable=True)
    return pipelines


def _first_class(family: Family, tasks: Container[Task]) -> Any:
    return getattr(diffusers, next(name for task, name in family.pipelines.items() if task in tasks))


def upcast_vae(pipeline: DiffusionPipeline, dtype: torch.dtype) -> None:
    """Cast an autoencoder that overflows in float16 to the precision that it needs. Call it before offloading."""
    if dtype is torch.float16 and hasattr(pipeline, "upcast_vae") and pipeline.vae.config.force_upcast:
        # Otherwise pipelines would cast it up and down around each use, even while others use it.
        pipeline.vae.float()


def arrange(family: Family, pipeline: DiffusionPipeline, memory: Memory) -> None:
    """Give weights the layout in which they are used."""
    if memory.quantization is None and memory.offload == "none":
        for module in _convolutional(family, pipeline):
            # Convolutions run in this layout anyway; storing weights in it avoids copies around each of them.
            module.to(memory_format=torch.channels_last)


def _convolutional(family: Family, pipeline: DiffusionPipeline) -> list[Any]:
    """The batched modules that are convolutional networks over images."""
    names = dict.fromkeys(part.component for part in family.parts)
    modules = [getattr(pipeline, name, None) for name in names]
    return [module for module in modules if module is not None and _is_convolutional(module)]


def _is_convolutional(module: torch.nn.Module) -> bool:
    """Whether all convolutions are 2D: video autoencoders mix in 3D ones, whose weights have no such layout."""
    kinds = {type(child) for child in module.modules()}
    return any(issubclass(kind, torch.nn.Conv2d) for kind in kinds) and not any(
        issubclass(kind, torch.nn.Conv3d) for kind in kinds
    )


def _over(
    family: Family, first: DiffusionPipeline, task: Task, pipeline_class: type[DiffusionPipeline]
) -> DiffusionPipeline:
    """Build the pipeline of another task over the weights of the first."""
    denoiser = getattr(first, family.denoiser, None)
    changed = {family.denoiser: inpaint_denoiser(denoiser)} if task is Task.INPAINT else {}
    return sibling(first, pipeline_class, **changed)
