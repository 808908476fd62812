"""Reads a pipeline into main memory, from a folder in diffusers layout or from a single file."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import torch
from diffusers import DiffusionPipeline

from core.errors import LoadFailed
from models.catalogue.entry import Entry
from models.catalogue.families import Family
from models.catalogue.memory.options import Memory
from models.weights.addons.embeddings import embedding_files
from models.weights.fetching.fetch import pipeline_path, refuse_incomplete, refuse_pickles
from models.weights.files.completing import fetch_rest, read_file
from models.weights.files.components import left_out, pipeline_parts
from models.weights.files.overrides import Override, fetch_overrides, read_overrides
from models.weights.memory.quantizing import quantization_options

UNUSED: dict[str, Any] = {"safety_checker": None, "requires_safety_checker": False}
"""Stable Diffusion's safety checker, which would run picture by picture, outside of batches, is not loaded."""

NO_OVERRIDES: Mapping[str, Override] = {}


@dataclass(frozen=True)
class Files:
    """The files of a model, on this machine."""

    weights: Path
    config: Path | None
    """The folder that configures a single file and supplies the components it lacks."""
    overrides: Mapping[str, Override]
    """What replaces components of the source."""
    embeddings: Mapping[str, Path]
    """The file of each embedding, by its token."""


def fetch(entry: Entry, pipeline_class: Any, *, allow_pickle: bool) -> Files:
    """Bring an entry's files to this machine. Raises LoadFailed with what to do."""
    options: dict[str, Any] = {
        "variant": entry.variant,
        "allow_pickle": allow_pickle,
        **_unused(pipeline_class, UNUSED),
        **dict.fromkeys(entry.overrides),
    }
    embeddings = embedding_files(entry.embeddings)
    overrides = fetch_overrides(entry.overrides, allow_pickle=allow_pickle)
    weights = pipeline_path(entry.source, pipeline_class, **options)
    if not allow_pickle:
        refuse_pickles(weights)
    if weights.is_file():
        return Files(weights, fetch_rest(entry, weights, pipeline_class, options), overrides, embeddings)
    if not (weights / "model_index.json").is_file():
        raise LoadFailed(f"{entry.source} has no model_index.json: it is not a pipeline in diffusers layout")
    refuse_incomplete(weights, entry.source, given=entry.given)
    return Files(weights, None, overrides, embeddings)


def read_pipeline(  # noqa: PLR0913  # options by name
    family: Family,
    pipeline_class: Any,
    path: Path,
    *,
    dtype: torch.dtype,
    memory: Memory,
    config: Path | None = None,
    overrides: Mapping[str, Override] = NO_OVERRIDES,
    allow_pickle: bool = False,
    variant: str | None = None,
) -> DiffusionPipeline:
    """Read a pipeline from a folder in diffusers layout, or from a single file and the folder that completes it.

    Raises OSError or ValueError, among others, if it is missing or unreadable.
    """
    dtypes = dict.fromkeys(family.float32_components, torch.float32)
    given: dict[str, Any] = {}
    if path.is_file():
        assert config is not None, "`fetch` finds one"
        given = read_file(family, path, config, dtype)
        path = config
    if overrides:
        given |= read_overrides(overrides, path, {name: dtypes.get(name, dtype) for name in overrides})
    own = {name: resolve_name(load)(str(path)) for name, load in family.components.items()}
    given |= _of_their_class(own, path)
    pipeline: DiffusionPipeline = pipeline_class.from_pretrained(
        str(path),
        dtype={"default": dtype, **dtypes},
        use_safetensors=None if allow_pickle else True,
        variant=variant,
        **quantization_options(memory, path, dtype),
        # Must be passed again, or diffusers insists on some of these components.
        **_unused(pipeline_class, {**UNUSED, **dict.fromkeys([*left_out(path), *(own.keys() - given.keys())])}),
        **given,
    )
    # The others are set afterwards, since diffusers accepts only the class in the index, which may need a package that
    # is not installed.
    pipeline.register_modules(**own)
    return pipeline


def _of_their_class(components: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the components whose class is the one in a pipeline's index or a subclass: some constructors need them."""
    parts = pipeline_parts(folder)
    kinds = {name: {kind.__name__ for kind in type(each).__mro__} for name, each in components.items()}
    return {name: each for name, each in components.items() if name in parts and parts[name][1] in kinds[name]}


def _unused(pipeline_class: Any, options: dict[str, Any]) -> dict[str, Any]:
    known = inspect.signature(pipeline_class.__init__).parameters
    return {name: value for name, value in options.items() if name in known}
