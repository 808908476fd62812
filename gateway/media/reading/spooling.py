"""Where uploaded files are kept while their requests wait: small ones in memory, large ones on disk."""

from __future__ import annotations

import logging
from mmap import ACCESS_READ, mmap
from tempfile import TemporaryFile

log = logging.getLogger("jubako.http")

IN_MEMORY_BYTES = 4 * 2**20
"""Hundreds of requests may wait, and an image may have 50 MB; most are smaller than this."""


def spooled(data: bytes) -> bytes | mmap:
    """Return a file's contents; those of a large file are mapped from disk. Blocks.

    The temporary file has no name and disappears with the last reference to its contents.
    """
    if len(data) <= IN_MEMORY_BYTES:
        return data
    try:
        with TemporaryFile() as file:
            file.write(data)
            file.flush()
            return mmap(file.fileno(), 0, access=ACCESS_READ)
    except OSError as error:
        log.warning("a large upload stays in memory: no temporary file can be written (%s)", error.strerror)
        return data
