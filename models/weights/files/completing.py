"""What completes a single-file checkpoint: always configurations, and the components that it lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.single_file_utils import fetch_diffusers_config

from core.errors import LoadFailed, LoadInterrupted
from models.catalogue.entry import Entry
from models.catalogue.families import Family
from models.catalogue.presence import WEIGHTLESS, missing_parts
from models.catalogue.sources import Source
from models.weights.fetching.explanations import explained
from models.weights.fetching.fetch import local_path, pipeline_path
from models.weights.files.components import pipeline_parts, read_components
from models.weights.files.contents import contents, outline, read_contents
from models.weights.memory.quantizing import need_package


def fetch_rest(entry: Entry, file: Path, pipeline_class: Any, options: dict[str, Any]) -> Path:
    """Return the folder of the pipeline that completes a file: the entry's `config`, or the one of its family.

    `options` are those of `pipeline_path`; components that are None in it are not needed. Raises LoadFailed with what
    to do, or LoadInterrupted.
    """
    family = entry.family_spec
    with explained(entry.source):
        tensors = {} if is_gguf(file) else outline(file)
    held = None if is_gguf(file) else contents(tensors, file)
    config = entry.config or Source(repo=base_repo(family, tensors))
    with _named(entry, config):
        folder = local_path(config, configs_only=True)
        if not (folder / "model_index.json").is_file():
            raise LoadFailed(f"{config} has no model_index.json: it is not a pipeline in diffusers layout")
        index = {name: kind for name, (_, kind) in pipeline_parts(folder).items()}
        if held is None:
            present = {family.denoiser}
        else:
            present = {name for name, kind in index.items() if held.holds(name, kind, family.denoiser)}
        present |= {name for name in index if name in options and options[name] is None}
        lacking = [name for name, kind in index.items() if name not in present and _has_weights(kind)]
        if not lacking:
            return folder
        # Components in the file need not be downloaded.
        whole = pipeline_path(config, pipeline_class, **(options | dict.fromkeys(present)))
        missing = set(missing_parts(whole)).intersection(lacking)
    if missing:
        raise LoadFailed(
            f"{entry.source} does not hold its {', '.join(sorted(missing))}, and neither does {config}; "
            "name a whole pipeline of its kind as `config` in the catalogue entry"
        )
    return whole


@contextmanager
def _named(entry: Entry, config: Source) -> Iterator[None]:
    """Explain, in errors, why a pipeline is fetched that no entry names."""
    try:
        yield
    except (LoadFailed, LoadInterrupted) as error:
        if entry.config is not None:
            raise
        said = (
            f"the configuration of {entry.source}, and all that it does not hold itself, are those of {config}: "
            f"{error}; or name another folder or repository with them as `config` in the catalogue entry"
        )
        if isinstance(error, LoadInterrupted):
            raise LoadInterrupted(said, error.retry_after_s) from error
        raise LoadFailed(said) from error


def base_repo(family: Family, tensors: dict[str, torch.Tensor]) -> str:
    """Return the repository with the rest of a file: the one that diffusers infers, if it is of the family."""
    found: str = fetch_diffusers_config(tensors)["pretrained_model_name_or_path"]
    return found if found in family.bases else family.bases[0]


def _has_weights(kind: str) -> bool:
    return not any(name in kind for name in WEIGHTLESS)


def is_gguf(file: Path) -> bool:
    return file.suffix == ".gguf"


def read_file(family: Family, file: Path, config: Path, dtype: torch.dtype) -> dict[str, Any]:
    """Return the components that a file holds, configured as in the pipeline in `config`."""
    if is_gguf(file):
        return {family.denoiser: _read_gguf(family, file, config, dtype)}
    return read_components(read_contents(file, dtype), family, config, dtype, file.name)


def _read_gguf(family: Family, file: Path, config: Path, dtype: torch.dtype) -> Any:
    need_package("gguf")
    denoiser_class = getattr(diffusers, pipeline_parts(config)[family.denoiser][1])
    return denoiser_class.from_single_file(
        str(file),
        quantization_config=diffusers.GGUFQuantizationConfig(compute_dtype=dtype),
        config=str(config),
        subfolder=family.denoiser,
        dtype=dtype,
    )
