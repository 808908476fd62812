"""From files on this machine to a pipeline in main memory: folders in diffusers layout, and single files."""

from __future__ import annotations

import inspect
import json
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import diffusers
import torch
from diffusers import DiffusionPipeline

from core.errors import LoadFailed
from models.catalogue.entry import Entry
from models.catalogue.families import Family
from models.catalogue.memory_options import Memory
from models.catalogue.presence import missing_parts
from models.catalogue.sources import Source
from models.weights.explanations import explained
from models.weights.fetching import local_path, pipeline_path, refuse_pickles
from models.weights.memory import need_package, quantization_options

UNUSED: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
"""Stable Diffusion's safety checker would run picture by picture, outside of the batches."""


@dataclass(frozen=True)
class Files:
    """What a model is made of, on this machine."""

    weights: Path
    config: Path | None
    """The folder that configures a single file, if the entry names one."""


def fetch(entry: Entry, pipeline_class: Any, *, allow_pickle: bool) -> Files:
    """Bring an entry's files to this machine. Raises LoadFailed with what to do."""
    options: dict[str, Any] = {
        "variant": entry.variant,
        "allow_pickle": allow_pickle,
        **_unused(pipeline_class, UNUSED),
    }
    weights = pipeline_path(entry.source, pipeline_class, **options)
    if not allow_pickle:
        refuse_pickles(weights)
    if weights.is_dir() and not (weights / "model_index.json").is_file():
        raise LoadFailed(f"{entry.source} has no model_index.json: it is no pipeline in diffusers layout")
    _check_parts(entry, weights)
    config = None if entry.config is None else _fetch_config(entry, entry.config, pipeline_class, options)
    return Files(weights, config)


def _check_parts(entry: Entry, weights: Path) -> None:
    """Raise LoadFailed for a pipeline without one of its components, which the libraries say in many ways."""
    with explained(entry.source):
        missing = missing_parts(weights) if weights.is_dir() else []
    if missing:
        raise LoadFailed(f"{entry.source} lacks its {', '.join(missing)}; get the whole repository or folder again")


def _fetch_config(entry: Entry, config: Source, pipeline_class: Any, options: dict[str, Any]) -> Path:
    if not _is_gguf(entry.source):
        return local_path(config, configs_only=True)
    # The file holds the denoiser alone; the other components come from the pipeline that it was made for.
    denoiser = entry.family_spec.denoiser
    folder = pipeline_path(config, pipeline_class, **(options | {denoiser: None}))
    if config.repo is not None:
        local_path(Source(repo=config.repo, revision=config.revision, subfolder=denoiser), configs_only=True)
    return folder


def _is_gguf(source: Source) -> bool:
    return str(source).endswith(".gguf")


def read_pipeline(  # noqa: PLR0913  # options by name
    family: Family,
    pipeline_class: Any,
    path: Path,
    *,
    dtype: torch.dtype,
    memory: Memory,
    config: Path | None = None,
    allow_pickle: bool = False,
    variant: str | None = None,
) -> DiffusionPipeline:
    """Read a pipeline from a folder in diffusers layout or a single file, which `config` describes.

    Raises OSError or ValueError, among others, when it is missing or unreadable.
    """
    unused = _unused(pipeline_class, UNUSED)
    if path.suffix == ".gguf":
        assert config is not None, "the entry's check asks for one"
        given: dict[str, Any] = {family.denoiser: _read_gguf(family, path, config, dtype)}
        path = config
    elif path.is_file():
        return pipeline_class.from_single_file(str(path), config=config and str(config), dtype=dtype, **unused)
    else:
        given = {}
    own = {name: resolve_name(load)(str(path)) for name, load in family.components.items()}
    return pipeline_class.from_pretrained(
        str(path),
        dtype={"default": dtype, **dict.fromkeys(family.float32_components, torch.float32)},
        use_safetensors=None if allow_pickle else True,
        variant=variant,
        **quantization_options(memory, path, dtype),
        **unused,
        **own,
        **given,
    )


def _read_gguf(family: Family, file: Path, config: Path, dtype: torch.dtype) -> Any:
    need_package("gguf")
    index = json.loads((config / "model_index.json").read_text(encoding="utf-8"))
    denoiser_class = getattr(diffusers, index[family.denoiser][1])
    return denoiser_class.from_single_file(
        str(file),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        config=str(config),
        subfolder=family.denoiser,
        dtype=dtype,
    )


def _unused(pipeline_class: Any, options: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(pipeline_class.__init__).parameters
    return {name: value for name, value in options.items() if name in known}
