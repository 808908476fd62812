"""Turns errors in fetching or reading a checkpoint into advice on what to do; the log has the cause."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx
import httpx2
import torch
from huggingface_hub import constants, get_token
from huggingface_hub import errors as hub
from huggingface_hub.file_download import repo_folder_name
from safetensors import SafetensorError

from core.errors import JubakoError, LoadFailed, LoadInterrupted
from models.catalogue.sources import Source

log = logging.getLogger("jubako.loading")
E = TypeVar("E", bound=BaseException)

AWAY = (httpx.HTTPError, httpx2.HTTPError)
"""Errors of diffusers' HTTP client and of the hub's."""
RETRY_S = 30
"""When to retry what the hub could not deliver."""
UNREADABLE = (SafetensorError, hub.SafetensorsParsingError)
FAILURES = (OSError, ValueError, KeyError, RuntimeError, *UNREADABLE, *AWAY)
"""Other errors that the hub's client, diffusers and transformers raise."""
HUB = (hub.RevisionResolutionError, hub.EntryNotFoundError, hub.HfHubHTTPError, hub.XetDownloadError)
UNREACHED = (hub.RevisionResolutionError, hub.LocalEntryNotFoundError, ConnectionError, TimeoutError, *AWAY)
FULL = (errno.ENOSPC, errno.EDQUOT)
FULL_TEXT = "No space left on device"
"""The message of the hub's Rust downloader, whose error has no type of its own."""
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)
FETCH = "`python -m models fetch MODEL` downloads it"
UNAUTHORIZED, TOO_MANY_REQUESTS, SERVER_ERROR = 401, 429, 500


@contextmanager
def explained_fetch(source: Source) -> Iterator[None]:
    """Turn failures to fetch a checkpoint into LoadFailed, or LoadInterrupted if a retry may succeed."""
    with _explained(source, _fetch_failure):
        yield


@contextmanager
def explained(source: Source) -> Iterator[None]:
    """Turn failures to read a checkpoint, which is on this machine, into LoadFailed."""
    with _explained(source, _read_failure):
        yield


@contextmanager
def named(what: str) -> Iterator[None]:
    """Prefix failures to load an addon with its description, such as: the LoRA 'ink', the embedding 'mine'."""
    try:
        yield
    except LoadFailed as error:
        raise LoadFailed(f"{what} cannot be loaded: {error}") from error
    except LoadInterrupted as error:
        raise LoadInterrupted(f"{what} cannot be loaded: {error}", error.retry_after_s) from error
    except SafetensorError as error:
        damaged = "the file is damaged, or not in safetensors; get it again"
        raise LoadFailed(f"{what} cannot be loaded: {damaged}") from error


@contextmanager
def _explained(source: Source, explain: Callable[[list[BaseException], Source], JubakoError]) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        # A RuntimeError too, but not the checkpoint's fault.
        raise
    except (*FAILURES, *HUB) as error:
        log.exception("%s cannot be loaded", source)
        raise explain(list(_chain(error)), source) from error


def _fetch_failure(chain: list[BaseException], source: Source) -> JubakoError:
    return _of_this_machine(chain, source) or _of_the_hub(chain, source) or _of_the_files(chain, source)


def _read_failure(chain: list[BaseException], source: Source) -> JubakoError:
    return _of_this_machine(chain, source) or _of_the_files(chain, source)


def _of_this_machine(chain: list[BaseException], source: Source) -> JubakoError | None:
    numbers = {cause.errno for cause in chain if isinstance(cause, OSError)}
    if numbers.intersection(FULL) or any(FULL_TEXT in str(cause) for cause in chain):
        needed = f"{_place(source)} needs more space"
        return LoadFailed(f"the disk is full; {needed}: free some, or set HF_HOME to a larger disk")
    if numbers.intersection(FORBIDDEN):
        return LoadFailed(
            f"the server's user may not read or write the files of {_place(source)}; give it access, "
            "or set HF_HOME to a folder of its own"
        )
    return None


def _of_the_hub(chain: list[BaseException], source: Source) -> JubakoError | None:
    """Subclasses are checked before their base classes."""
    if source.repo is None:
        return None
    place = source.repo
    if _first(chain, hub.GatedRepoError):
        return LoadFailed(_gated(source))
    refusal = _first(chain, hub.HfHubHTTPError)
    status = refusal.response.status_code if refusal is not None else 0
    if _first(chain, hub.RevisionNotFoundError):
        return LoadFailed(f"{place} has no revision {source.revision}; mend the catalogue entry")
    if _first(chain, hub.RepositoryNotFoundError):
        return LoadFailed(f"there is no repository {place}; if it is private, set HF_TOKEN to a token that may read it")
    if status == UNAUTHORIZED:
        return LoadFailed("the hub does not accept the token of HF_TOKEN: it is wrong or expired; set another, or none")
    if _first(chain, hub.RemoteEntryNotFoundError):
        return LoadFailed(f"{place} lacks a file that the catalogue names: {source}")
    if status == TOO_MANY_REQUESTS or status >= SERVER_ERROR:
        return LoadInterrupted(f"{place} cannot be downloaded now: the hub answers {status}; try again later", RETRY_S)
    if _first(chain, *UNREACHED):
        return _not_fetched(source)
    return None


def _not_fetched(source: Source) -> JubakoError:
    cached = f"{_place(source)} is {'only partly' if _is_begun(source) else 'not'} in the cache"
    if constants.HF_HUB_OFFLINE:
        return LoadFailed(f"{cached}, and HF_HUB_OFFLINE is set; {FETCH} while online")
    return LoadInterrupted(f"{cached}, and the hub cannot be reached; check the network, then {FETCH}", RETRY_S)


def _is_begun(source: Source) -> bool:
    folder = repo_folder_name(repo_id=str(source.repo), repo_type="model")
    return any(Path(constants.HF_HUB_CACHE, folder, "snapshots").glob("*/*"))


def _of_the_files(chain: list[BaseException], source: Source) -> JubakoError:
    if _first(chain, *UNREADABLE, json.JSONDecodeError, UnicodeDecodeError):
        return LoadFailed(f"{source} is damaged; delete the files and get them again")
    return LoadFailed(f"{source} cannot be read as a checkpoint of its family; the cause is in the server's log")


def _gated(source: Source) -> str:
    page = f"https://huggingface.co/{source.repo}"
    if get_token() is None:
        return f"{source.repo} is gated: accept the licence at {page} and set HF_TOKEN to a token of that account"
    return f"{source.repo} is gated, and the account of HF_TOKEN may not read it: accept the licence at {page}"


def _place(source: Source) -> str:
    return source.repo or str(source)


def _first(chain: list[BaseException], *kinds: type[E]) -> E | None:
    return next((cause for cause in chain if isinstance(cause, kinds)), None)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
