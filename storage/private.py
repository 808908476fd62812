"""Files on this machine that only the server's own user may read."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from settings.locations import local_folder
from settings.sections.storage import StorageOptions
from storage.file_keys import INPUTS, RESULTS


def make_private(path: Path) -> None:
    """Remove group's and others' permissions from a file or folder; does nothing if it is not ours to change."""
    with suppress(OSError):
        path.chmod(path.stat().st_mode & 0o700)


def write_privately(options: StorageOptions) -> None:
    """Make files that this process writes from now on private, unless a web server serves the results."""
    if not _published(options):
        os.umask(0o077)


def make_private_folders(options: StorageOptions) -> None:
    """Create a local storage's folders as private, or make existing ones private. Raises OSError."""
    if (folder := local_folder(options.storage_location)) is None:
        return
    for name in (INPUTS,) if _published(options) else (INPUTS, RESULTS):
        (folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        make_private(folder / name)


def _published(options: StorageOptions) -> bool:
    """Whether a web server, perhaps of another user, reads the results in a local folder."""
    return options.storage_public_url is not None and local_folder(options.storage_location) is not None
