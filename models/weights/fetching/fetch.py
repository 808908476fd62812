"""Fetches the files of a source to this machine."""

from __future__ import annotations

from collections.abc import Collection
from importlib import import_module
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download

from core.errors import LoadFailed
from models.catalogue.families import tokenizer_of
from models.catalogue.presence import missing_parts
from models.catalogue.sources import Source
from models.weights.fetching.downloads import bar_class, reported_snapshot
from models.weights.fetching.explanations import explained, explained_fetch

SETUP = ("*.json", "*.txt", "*.model")
"""Configurations and vocabularies; loading needs nothing else beside weights."""
SAFE = (".safetensors", ".gguf", ".json")
PICKLES = (".bin", ".ckpt", ".pt", ".pth")


def local_path(source: Source, variant: str | None = None, *, configs_only: bool = False) -> Path:
    """Return the folder or file that a source names, fetching it if it is not on this machine.

    `variant` and `configs_only` avoid downloading a folder's other weights. Blocks while it downloads. Raises
    LoadFailed with what to do, or LoadInterrupted.
    """
    weights = () if configs_only else (f"*.{variant}.safetensors",) if variant else ("*.safetensors",)
    with explained_fetch(source):
        return _local_path(source, weights)


def only_file(path: Path) -> Path:
    """Return a file, or the one safetensors file in a folder. Raises LoadFailed."""
    if path.is_file():
        return path
    files = list(path.glob("*.safetensors"))
    if len(files) != 1:
        raise LoadFailed(f"{len(files)} safetensors files are there; name one in the catalogue")
    return files[0]


def pipeline_path(source: Source, pipeline_class: Any, *, allow_pickle: bool = False, **options: Any) -> Path:
    """Return the folder or file of a whole pipeline, fetching only what its class needs.

    `options` go to `DiffusionPipeline.download`: `variant`, and None for each component that is not needed. Blocks
    while it downloads. Raises LoadFailed with what to do, or LoadInterrupted.
    """
    with explained_fetch(source):
        if source.repo is None or source.file is not None or source.subfolder is not None:
            return _local_path(source, ("*.safetensors",))
        # diffusers, which has no option for it, calls the hub's client by this name.
        pipeline_utils = import_module(pipeline_class.download.__func__.__module__)
        pipeline_utils.snapshot_download = reported_snapshot  # type: ignore[attr-defined]
        safetensors = None if allow_pickle else True
        try:
            return Path(
                pipeline_class.download(source.repo, revision=source.revision, use_safetensors=safetensors, **options)
            )
        except OSError as error:
            # diffusers raises no specific error for this (pipelines/pipeline_loading_utils.py).
            if "necessary `safetensors`" in str(error):
                raise refused_pickle(f"a part of {source.repo}") from error
            raise


def _local_path(source: Source, weights: tuple[str, ...]) -> Path:
    if source.repo is not None:
        return _from_hub(source, weights)
    root = source.path or _from_store(str(source.bento))
    path = root.joinpath(*filter(None, (source.subfolder, source.file)))
    if not path.exists():
        raise LoadFailed(f"there is no {path}")
    return path


def _from_hub(source: Source, weights: tuple[str, ...]) -> Path:
    assert source.repo is not None
    if source.file is not None:
        folder, version, bar = source.subfolder, source.revision, bar_class()
        return Path(hf_hub_download(source.repo, source.file, subfolder=folder, revision=version, tqdm_class=bar))
    folder = f"{source.subfolder}/" if source.subfolder else ""
    wanted = [f"{folder}{pattern}" for pattern in (*weights, *SETUP)]
    return Path(reported_snapshot(source.repo, revision=source.revision, allow_patterns=wanted), folder)


def _from_store(tag: str) -> Path:
    # Its import takes most of a second, and few models come from there.
    import bentoml

    try:
        return Path(bentoml.models.get(tag).path)
    except bentoml.exceptions.NotFound as error:
        stored = f"BentoML's model store has no {tag}"
        raise LoadFailed(f"{stored}; put it there with `python -m models save`") from error


def refuse_incomplete(folder: Path, source: Source, given: Collection[str] = ()) -> None:
    """Raise LoadFailed for a pipeline that lacks a component, which the libraries report in many ways.

    `given` are the components that come from elsewhere; a text encoder given without its tokenizer is a single file.
    """
    with explained(source):
        missing = [name for name in missing_parts(folder) if name not in given]
    encoders = {tokenizer_of(name): name for name in given}
    if missing and encoders.keys() >= set(missing):
        raise LoadFailed(f"{encoders[missing[0]]} is one file, which brings no tokenizer; give a folder with both")
    if missing:
        raise LoadFailed(f"{source} lacks its {', '.join(missing)}; get the whole repository or folder again")


def refuse_pickles(path: Path) -> None:
    """Raise LoadFailed if the weights at `path` are only there as pickles, which can run arbitrary code when read."""
    folders = [path, *(sub for sub in path.iterdir() if sub.is_dir())] if path.is_dir() else []
    for folder in folders:
        pickles = [file for ending in PICKLES for file in folder.glob(f"*{ending}")]
        if pickles and not any(folder.glob("*.safetensors")):
            raise refused_pickle(pickles[0].name)
    if path.is_file():
        refuse_pickle_name(path.name)


def refuse_pickle_name(name: str) -> None:
    """Raise LoadFailed, before fetching, for a file whose name does not show that it is safe to read."""
    if not name.endswith(SAFE):
        raise refused_pickle(name.rpartition("/")[2])


def refused_pickle(weights: str) -> LoadFailed:
    """Return the error for weights that can run code."""
    return LoadFailed(
        f"{weights} is a pickle, which can run arbitrary code when read; use safetensors, or set "
        "JUBAKO_ALLOW_PICKLE=true if you trust it"
    )
