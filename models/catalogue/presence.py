"""Whether a model's weights are on this machine. Nothing here downloads or loads anything."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator
from enum import StrEnum
from pathlib import Path

from huggingface_hub import get_token, snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import LocalEntryNotFoundError

from models.catalogue.entry import Entry
from models.catalogue.sources import Source

NOT_LOADED = {"safety_checker"}
"""Components that `models.weights.file_reading` neither loads nor fetches."""

PICKLED = ".bin"
WEIGHTLESS = ("Tokenizer", "Scheduler", "Processor", "Extractor", "Guidance")
"""Substrings of the names of classes without weights."""


class Presence(StrEnum):
    HERE = "here"
    TO_DOWNLOAD = "to download"
    """To be downloaded from the hub when the model is first loaded."""
    GATED = "gated"
    """To be downloaded as well, but the licence must be accepted on the hub, and no token is set."""
    MISSING = "missing"
    """A local folder or file, or a model in BentoML's store, that does not exist."""


def presence(entry: Entry) -> Presence:
    """Return whether the weights needed for loading are here, not considering those that only some requests need."""
    absent = [] if is_here(entry.source, given=entry.given) else [entry.source]
    absent += [source for source in _beside(entry) if not is_here(source)]
    if entry.config is not None and not is_here(entry.config, needs_weights=False):
        absent.append(entry.config)
    if not absent:
        return Presence.HERE
    if any(source.repo is None for source in absent):
        return Presence.MISSING
    return Presence.GATED if entry.gated and get_token() is None else Presence.TO_DOWNLOAD


def is_here(source: Source, *, needs_weights: bool = True, given: Container[str] = ()) -> bool:
    """Whether a source's files are on this machine: in their folder, in the hub's cache or in BentoML's store.

    `given` are components of a pipeline that come from elsewhere.
    """
    if source.path is not None:
        return source.path.joinpath(*filter(None, (source.subfolder, source.file))).exists()
    if source.repo is None:
        return _is_stored(str(source.bento))
    if source.file is not None:
        name = "/".join(filter(None, (source.subfolder, source.file)))
        return isinstance(try_to_load_from_cache(source.repo, name, revision=source.revision), str)
    try:
        folder = Path(snapshot_download(source.repo, revision=source.revision, local_files_only=True))
    except LocalEntryNotFoundError:
        return False
    return not needs_weights or _is_complete(folder / (source.subfolder or ""), given)


def _beside(entry: Entry) -> Iterator[Source]:
    yield from entry.overrides.values()
    yield from (embedding.source for embedding in entry.embeddings.values())
    yield from (lora.source for lora in entry.loras.values() if lora.always)


def _is_stored(tag: str) -> bool:
    import bentoml  # slow to import, and only needed here

    try:
        bentoml.models.get(tag)
    except bentoml.exceptions.NotFound:
        return False
    return True


def missing_parts(folder: Path) -> list[str]:
    """Return the components in a pipeline's index that its folder lacks or has without all of their weights."""
    wanted = _parts(folder / "model_index.json")
    return [name for name, kind in wanted.items() if not _is_there(folder / name, kind)]


def _is_there(folder: Path, kind: str) -> bool:
    if any(name in kind for name in WEIGHTLESS):
        return any(folder.glob("*.*"))
    return _has_weights(folder) or any(folder.glob(f"*{PICKLED}"))


def _parts(index: Path) -> dict[str, str]:
    """Return the name and the class of each component that is loaded."""
    parts = json.loads(index.read_text(encoding="utf-8"))
    named = {name: part for name, part in parts.items() if isinstance(part, list) and part[0] is not None}
    return {name: str(part[1]) for name, part in named.items() if name not in NOT_LOADED}


def _is_complete(folder: Path, given: Container[str]) -> bool:
    """Whether a snapshot has everything in its index that is not `given`; its download may have been interrupted.

    The cache links a file into a snapshot only once it is complete.
    """
    index = folder / "model_index.json"
    if not index.is_file():
        return _has_weights(folder)
    return all(_is_complete_part(folder / name) for name in _parts(index) if name not in given)


def _is_complete_part(folder: Path) -> bool:
    """Tokenizers and samplers have no weights, and no config.json."""
    return _has_weights(folder) if (folder / "config.json").is_file() else any(folder.glob("*.*"))


def _has_weights(folder: Path) -> bool:
    if any("-of-" not in file.name for file in folder.glob("*.safetensors")):
        return True
    return any(_has_shards(index) for index in folder.glob("*.safetensors.index*.json"))


def _has_shards(index: Path) -> bool:
    names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((index.parent / name).is_file() for name in names)
