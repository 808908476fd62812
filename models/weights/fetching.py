"""From a source to files on this machine, and from what goes wrong on the way to what to do about it."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import gaierror
from typing import Any

import torch
from bentoml.exceptions import NotFound
from huggingface_hub import errors as hub
from huggingface_hub import get_token, hf_hub_download, snapshot_download
from safetensors import SafetensorError

from core.errors import LoadFailed
from models.catalogue.sources import Source

log = logging.getLogger("jubako.loading")

SETUP = ("*.json", "*.txt", "*.model")
"""Configurations and vocabularies; what else is in a repository is not for loading."""
SAFE = (".safetensors", ".gguf", ".json")
RETRY_S = 30
"""When a client should retry what only the operator can fix."""


def local_path(source: Source, variant: str | None = None, *, configs_only: bool = False) -> Path:
    """Return the folder or file that a source names, fetching it when it is not on this machine.

    `variant` and `configs_only` spare downloads of a folder's other weights. Blocks while it downloads. Raises
    LoadFailed with what to do.
    """
    weights = () if configs_only else (f"*.{variant}.safetensors",) if variant else ("*.safetensors",)
    with explained(source):
        return _local_path(source, weights)


def pipeline_path(source: Source, pipeline_class: Any, *, allow_pickle: bool = False, **options: Any) -> Path:
    """Return the folder or file of a whole pipeline, fetching what its class needs and no more.

    `options` go to `DiffusionPipeline.download`: `variant`, and the components that are not needed as None. Blocks
    while it downloads. Raises LoadFailed with what to do.
    """
    with explained(source):
        if source.repo is None or source.file is not None or source.subfolder is not None:
            return _local_path(source, ("*.safetensors",))
        safetensors = None if allow_pickle else True
        try:
            return Path(
                pipeline_class.download(source.repo, revision=source.revision, use_safetensors=safetensors, **options)
            )
        except OSError as error:
            # diffusers has no error of its own for this (pipelines/pipeline_loading_utils.py).
            if "necessary `safetensors`" in str(error):
                raise _refused(f"a part of {source.repo}") from error
            raise


def _local_path(source: Source, weights: tuple[str, ...]) -> Path:
    if source.repo is not None:
        return _from_hub(source, weights)
    root = source.path or _from_store(str(source.bento))
    path = root.joinpath(*filter(None, (source.subfolder, source.file)))
    if not path.exists():
        raise LoadFailed(f"there is no {path}", RETRY_S)
    return path


def _from_hub(source: Source, weights: tuple[str, ...]) -> Path:
    assert source.repo is not None
    if source.file is not None:
        return Path(hf_hub_download(source.repo, source.file, subfolder=source.subfolder, revision=source.revision))
    folder = f"{source.subfolder}/" if source.subfolder else ""
    wanted = [f"{folder}{pattern}" for pattern in (*weights, *SETUP)]
    return Path(snapshot_download(source.repo, revision=source.revision, allow_patterns=wanted), folder)


def _from_store(tag: str) -> Path:
    # Its import takes most of a second, and few models come from there.
    import bentoml

    return Path(bentoml.models.get(tag).path)


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn failures to fetch or read a checkpoint into LoadFailed, which says what to do; the log has the cause."""
    try:
        yield
    except torch.OutOfMemoryError:
        # A RuntimeError, but the checkpoint is as it should be.
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, NotFound) as error:
        log.exception("%s cannot be loaded", source)
        raise LoadFailed(_explanation(error, source), RETRY_S) from error


def _explanation(error: BaseException, source: Source) -> str:
    chain = list(_chain(error))
    place = source.repo or source
    # The first that is among the causes; special ones come before those they are kinds of.
    reasons: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
        (hub.GatedRepoError, _gated(source)),
        (hub.RevisionNotFoundError, f"{place} has no revision {source.revision}; mend the catalogue entry"),
        (
            hub.RepositoryNotFoundError,
            f"there is no repository {place}; if it is private, set HF_TOKEN to a token that may read it",
        ),
        (
            (hub.RevisionResolutionError, hub.LocalEntryNotFoundError, ConnectionError, TimeoutError, gaierror),
            f"{place} is not in the cache, and the hub cannot be reached or HF_HUB_OFFLINE is set; "
            "download it while online",
        ),
        (hub.EntryNotFoundError, f"{place} lacks a file that the catalogue names: {source}"),
        (NotFound, f"BentoML's model store has no {source.bento}; put it there with `python -m models save`"),
        (
            (SafetensorError, json.JSONDecodeError, UnicodeDecodeError),
            f"{source} is damaged; delete the files and get them again",
        ),
    )
    for kinds, reason in reasons:
        if any(isinstance(cause, kinds) for cause in chain):
            return reason
    if any(isinstance(cause, OSError) and cause.errno == errno.ENOSPC for cause in chain):
        return f"the disk is full; {place} needs more space"
    return f"{source} cannot be read as a checkpoint of its family; the cause is in the server's log"


def _gated(source: Source) -> str:
    page = f"https://huggingface.co/{source.repo}"
    if get_token() is None:
        return f"{source.repo} is gated: accept the licence at {page} and set HF_TOKEN to a token of that account"
    return f"{source.repo} is gated, and the account of HF_TOKEN may not read it: accept the licence at {page}"


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def refuse_pickles(path: Path) -> None:
    """Raise LoadFailed when weights at `path` exist as pickles only, which can run arbitrary code when read."""
    folders = [path, *(sub for sub in path.iterdir() if sub.is_dir())] if path.is_dir() else []
    for folder in folders:
        pickles = [file for ending in ("bin", "ckpt", "pt", "pth") for file in folder.glob(f"*.{ending}")]
        if pickles and not any(folder.glob("*.safetensors")):
            raise _refused(pickles[0].name)
    if path.is_file() and path.suffix not in SAFE:
        raise _refused(path.name)


def _refused(weights: str) -> LoadFailed:
    return LoadFailed(
        f"{weights} is a pickle, which can run arbitrary code when read; use safetensors, or set "
        "JUBAKO_ALLOW_PICKLE=true if you trust it",
        RETRY_S,
    )
