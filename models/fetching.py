"""From a source to files on this machine."""

from __future__ import annotations

from pathlib import Path

from models.sources import Source


def local_path(source: Source) -> Path:
    """Return the folder or file that a source names, fetching it when it is not on this machine.

    Blocks while it downloads.
    """
    if source.path is None:
        raise NotImplementedError
    return source.path.joinpath(*filter(None, (source.subfolder, source.file)))
