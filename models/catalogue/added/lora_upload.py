"""LoRAs added while the server runs: each is checked first, and then appears in the folder atomically."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from safetensors import SafetensorError, safe_open

from core.errors import InvalidRequest, LoadFailed, TooLarge
from models.catalogue.added.lora_folder import readable_name
from models.catalogue.added.lora_kinds import unread_kind
from models.catalogue.entry import Entry

MARKS = ("lora_", ".lora.", "_lora.", "hada_", "lokr_", ".diff", "lora_linear_layer")
"""Substrings of the tensor names in LoRAs and their relatives."""
CHUNK_BYTES = 2**20
PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def new_name(entry: Entry, wanted: str) -> str:
    """Return the name that requests will use. Raises InvalidRequest if it is empty or taken."""
    name = readable_name(Path(wanted.replace("\\", "/")).name.removesuffix(".safetensors"))
    if not name:
        raise InvalidRequest("name", "needs letters or digits from a to z and 0 to 9")
    if name in entry.loras or name in entry.choosable_loras:
        raise InvalidRequest("name", f"{entry.id} has a LoRA {name!r} already; give another name")
    return name


def keep_lora(content: IO[bytes], entry: Entry, name: str, max_bytes: int) -> int:
    """Write a LoRA into the operator's folder and return its size; requests may name it from then on. Blocks.

    Raises InvalidRequest if it is no LoRA or the name was taken meanwhile, TooLarge, or LoadFailed if writing fails.
    """
    assert entry.folder is not None, "asked for before"
    place = entry.folder.place_for(entry.id, name)
    with _explained(name):
        place.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        with _temporary(place.parent) as (file, path):
            size = _copy(content, file, max_bytes)
            check_lora(path)
            try:
                # Unlike a rename, it replaces nothing.
                os.link(path, place)
            except FileExistsError as error:
                raise InvalidRequest("name", f"{entry.id} has a LoRA {name!r} already; give another name") from error
    return size


@contextmanager
def _temporary(folder: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """Open a file that only the server's user can read, under a name that is not taken for a LoRA's."""
    handle, name = tempfile.mkstemp(prefix=".upload-", dir=folder)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123  # of a handle
            yield file, Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)  # noqa: PTH108


def _copy(content: IO[bytes], file: IO[bytes], max_bytes: int) -> int:
    size = 0
    while chunk := content.read(CHUNK_BYTES):
        size += len(chunk)
        if size > max_bytes:
            raise TooLarge(f"the LoRA is larger than {max_bytes} bytes")
        file.write(chunk)
    file.flush()
    os.fsync(file.fileno())
    return size


def check_lora(file: Path) -> None:
    """Raise InvalidRequest unless a file is whole safetensors with weights of a LoRA's kind."""
    try:
        with safe_open(file, "numpy") as tensors:
            names = list(tensors.keys())
    except SafetensorError as error:
        raise InvalidRequest("file", "is not a whole safetensors file; other formats are not taken") from error
    if (kind := unread_kind(names)) is not None:
        raise InvalidRequest("file", f"is {kind}")
    if not any(mark in name for name in names for mark in MARKS):
        shown = ", ".join(name[:60] for name in names[:3])
        raise InvalidRequest("file", f"is not a LoRA: it holds {shown or 'nothing'}")


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise LoadFailed(f"the LoRA {name!r} cannot be written to JUBAKO_LORA_FOLDER: {error.strerror}") from error
